"""Loading a model folder: from disk only, no code of the model's own, in eval mode, and never half-loaded."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from pipelines.errors import wrong
from pipelines.hf.folder import CONFIG, read_json

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def model_device() -> torch.device:
    """Where models run: the first accelerator, else the CPU."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def load_model(
    folder: Path, dtype: str | torch.dtype | None = None, device: torch.device | str | None = None, **options: Any
) -> PreTrainedModel:
    """The model of a folder, in eval mode.

    `dtype` is a torch dtype or one of float32, bfloat16, float16; without one, the dtype of the files. `device` is
    `model_device()` by default. `options` go to from_pretrained. UserError where a weight is missing or has another
    shape: transformers alone would fill it with random numbers and go on.
    """
    wanted = DTYPES[dtype] if isinstance(dtype, str) else dtype
    model, report = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=wanted or "auto",
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
        **options,
    )
    _check_loaded(folder, report)
    placed = (
        model if "device_map" in options or "quantization_config" in options else model.to(device or model_device())
    )
    return placed.eval()


def require_known(folder: Path) -> None:
    """UserError where the installed transformers has no such architecture."""
    kind = read_json(folder / CONFIG).get("model_type")
    if kind not in CONFIG_MAPPING:
        fix = "Update transformers, or use another model"
        raise wrong(str(folder), "the installed transformers does not know this model_type", str(kind), fix)


def _check_loaded(folder: Path, report: dict[str, Any]) -> None:
    for kind, says in (
        ("missing_keys", "lacks weights that its config asks for"),
        ("mismatched_keys", "holds weights of other shapes than its config asks for"),
        ("unexpected_keys", "holds weights that its config does not know"),
    ):
        if keys := sorted(str(key) for key in report[kind]):
            raise wrong(
                str(folder), f"{says}: {len(keys)}", keys[0], "Check that config.json and the weights belong together"
            )


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of a folder. UserError where transformers would not split text as `tokenizer.json` says.

    Some tokenizer classes of transformers 5 (GPT2Tokenizer, Qwen2Tokenizer) build their own pre-tokenizer and ignore
    the one in the file.
    """
    words = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if changed := changed_parts(folder, words):
        raise wrong(
            str(folder),
            f"its tokenizer class {type(words).__name__} does not follow tokenizer.json",
            ", ".join(changed),
            'Set "tokenizer_class": "PreTrainedTokenizerFast" in tokenizer_config.json',
        )
    return words


def changed_parts(folder: Path, words: PreTrainedTokenizerFast) -> list[str]:
    """Which parts of `tokenizer.json` the loaded tokenizer replaced by its own: normalizer, pre_tokenizer, decoder."""
    asked, got = Tokenizer.from_file(str(folder / "tokenizer.json")), words.backend_tokenizer
    return [name for name in ("normalizer", "pre_tokenizer", "decoder") if _state(asked, name) != _state(got, name)]


def _state(tokenizer: Tokenizer, name: str) -> bytes | None:
    """A part as bytes: its repr would be cut short where it holds a long pattern."""
    part = getattr(tokenizer, name)
    return None if part is None else bytes(part.__getstate__())
