"""A GGUF file as a plain model: weights unpacked to float32, and the tokenizer that the metadata asks for."""

import re
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

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


class Contents(NamedTuple):
    """The short fields of a GGUF file by name, and what was lost in it, such as "4-bit dequantised (Q4_1)"."""

    metadata: dict[str, Any]
    loss: str | None


def read(path: Path) -> Contents:
    """What a GGUF file says of itself; long lists such as the vocabulary are left out. UserError where it is broken."""
    try:
        reader = GGUFReader(path)
        metadata = {field.name: field.contents() for field in reader.fields.values() if len(field.data) <= 64}
    except (ValueError, IndexError, KeyError, OSError, OverflowError) as error:
        raise wrong(path.name, "is no readable GGUF file", str(error), "Check the recipe, or fetch it again") from error
    elements = Counter[str]()
    for tensor in reader.tensors:
        elements[tensor.tensor_type.name] += int(tensor.n_elements)
    return Contents(metadata, _loss(elements.most_common(1)[0][0] if elements else "F32"))


def _loss(kind: str) -> str | None:
    """The type of most values as a sentence's end; None for a type that loses nothing."""
    bits = re.search(r"Q(\d)", kind)
    return None if kind in ("F64", "F32", "F16", "BF16") else f"{bits[1] + '-bit ' if bits else ''}dequantised ({kind})"


def load_weights(path: Path, metadata: dict[str, Any]) -> PreTrainedModel:
    """The model with every weight unpacked to float32: dense, trainable and no longer marked as quantised.

    UserError where transformers does not know the architecture.
    """
    config = GgufConfig(dequantize=True)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, quantization_config=config, dtype=torch.float32
        )
    except ValueError as error:
        got = str(metadata.get("general.architecture"))
        raise wrong(path.name, f"transformers cannot read it: {error}", got, "Use a safetensors folder") from error
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
        model_max_length=metadata.get(f"{metadata.get('general.architecture')}.context_length"),
        clean_up_tokenization_spaces=False,
    )
