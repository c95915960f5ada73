"""Rules about quantisation that config and weights disagree on: one says so and the other does not."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipelines.errors import few
from pipelines.hf.folder import CONFIG
from pipelines.hf.safetensors import Located
from pipelines.serving.findings import Finding
from pipelines.serving.lint.opened import mapping

_NAMES = re.compile(
    r"\.(qweight|qzeros|g_idx|weight_packed|weight_scale|weight_scale_inv|weight_shape|input_scale|absmax|quant_map"
    r"|SCB)$|\.quant_state\.|_(blocks|scales)$"
)
_TYPES = frozenset({"F8_E4M3", "F8_E5M2", "F4", "F6_E2M3", "F6_E3M2"})
_INTEGERS = frozenset({"I8", "U8", "I16", "U16", "I32", "U32"})
_OUT_OF_TREE = ("bitsandbytes", "gguf", "hqq", "quanto", "eetq", "aqlm", "higgs", "vptq")


_WEIGHTS = re.compile(r"\.(qweight|weight_packed)$|_blocks$")


def whole_names(tensors: Mapping[str, Located]) -> set[str]:
    """The tensors that the model has once it is unpacked, as it names them."""
    return {_WEIGHTS.sub(lambda found: ".weight" if found[1] else "", name) for name in tensors}


def packed(tensors: Mapping[str, Located]) -> list[str]:
    """The tensors that only quantised weights have, sorted."""
    return sorted(
        name
        for name, place in tensors.items()
        # Masks and positions are integers too, weights never.
        if _NAMES.search(name)
        or place.info.dtype in _TYPES
        or (place.info.dtype in _INTEGERS and name.endswith(".weight"))
    )


def rules(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Located]) -> Iterator[Finding]:
    """A quantization_config on plain weights, quantised weights without one, and kinds that vLLM does not serve."""
    stated = mapping(config.get("quantization_config")) or mapping(config.get("compression_config"))
    method, held, where = str(stated.get("quant_method", "unknown")), packed(tensors), str(folder / CONFIG)
    if stated and not held and tensors:
        what = "has a quantization_config, and the weights are not quantised: engines refuse it or misread them"
        yield Finding("leftover-quantization", "E", where, what, method, "Delete quantization_config")
    if held and not stated:
        what = "has no quantization_config, and the weights are quantised: engines cannot read them"
        yield Finding("no-quantization-config", "E", where, what, few(held), "Quantise the model again")
    if stated and held and method.removesuffix("_4bit").removesuffix("_8bit") in _OUT_OF_TREE:
        what = "holds weights of a kind that vLLM does not serve"
        fix = "Export in 16 bit, then quantise with Burnish or llm-compressor"
        yield Finding("unserved-quantization", "E", where, what, method, fix)
