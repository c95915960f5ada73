"""A GGUF file as a plain model: weights unpacked to float32, and the tokenizer that the metadata asks for."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGUFReader
from tokenizers import decoders, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    GgufConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from pipelines.errors import wrong

# llama.cpp's names (llama-vocab.cpp). smollm and its kin cut every digit off before the GPT-2 pattern; the reader of
# transformers forgets that, and "x  12" becomes other tokens than the model was trained on.
_DIGITS = ("smollm", "starcoder", "refact", "command-r")
_PLAIN = ("gpt-2",)


def read_metadata(path: Path) -> dict[str, Any]:
    """The scalar and text fields of a GGUF file by name; long lists such as the vocabulary are left out."""
    fields = GGUFReader(path).fields.values()
    return {field.name: field.contents() for field in fields if len(field.data) <= 64}


def quantisation(path: Path) -> str | None:
    """What was lost in the file, such as "4-bit dequantised (Q4_1)": the type of most values. None: nothing."""
    elements = Counter[str]()
    for tensor in GGUFReader(path).tensors:
        elements[tensor.tensor_type.name] += int(tensor.n_elements)
    kind = elements.most_common(1)[0][0]
    if kind in ("F32", "F16", "BF16", "F64"):
        return None
    bits = re.search(r"Q(\d)", kind)
    return f"{bits[1]}-bit dequantised ({kind})" if bits else f"dequantised ({kind})"


def load_weights(path: Path, metadata: dict[str, Any]) -> PreTrainedModel:
    """The model with every weight unpacked to float32: dense, trainable and no longer marked as quantised."""
    model = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
    )
    _clean_config(model, metadata)
    return model


def _clean_config(model: PreTrainedModel, metadata: dict[str, Any]) -> None:
    """What a config made from GGUF gets wrong: numbers widened from float32, and leftovers of the quantisation."""
    config = model.config
    for name in ("rms_norm_eps", "layer_norm_eps"):
        if isinstance(value := getattr(config, name, None), float):
            setattr(config, name, float(str(np.float32(value))))
    for name in ("quantization_config", "unk_token_id", "_model_name_or_path"):
        if hasattr(config, name):
            delattr(config, name)
    ids = {
        f"{name}_token_id": metadata.get(f"tokenizer.ggml.{key}_token_id")
        for name, key in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"))
    }
    for name, value in ids.items():
        setattr(config, name, value)
    model.generation_config = GenerationConfig(**{name: value for name, value in ids.items() if value is not None})


def load_words(path: Path, metadata: dict[str, Any]) -> PreTrainedTokenizerFast:
    """The tokenizer, with the pre-tokenizer that `tokenizer.ggml.pre` names and the model's true maximum length.

    UserError where the metadata names a tokenizer that is not known here: a near miss tokenises wrongly without a word.
    """
    kind, pre = metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre")
    if kind != "gpt2" or pre not in _DIGITS + _PLAIN:
        known = ", ".join(_DIGITS + _PLAIN)
        raise wrong(
            path.name, "has a tokenizer that is not known", f"{kind}/{pre}", f"Use safetensors; known are: {known}"
        )
    words = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    backend = words.backend_tokenizer
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True)
    digits = [pre_tokenizers.Digits(individual_digits=True)] if pre in _DIGITS else []
    backend.pre_tokenizer = pre_tokenizers.Sequence([*digits, byte_level])
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=words.bos_token,
        eos_token=words.eos_token,
        pad_token=words.pad_token,
        unk_token=words.unk_token,
        chat_template=metadata.get("tokenizer.chat_template"),
        model_max_length=int(metadata[f"{metadata['general.architecture']}.context_length"]),
        clean_up_tokenization_spaces=False,
    )
