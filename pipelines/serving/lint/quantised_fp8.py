"""Rules on folders of 8-bit floats with a config of their own, as DeepSeek published and transformers writes them."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.hf.safetensors import Located
from pipelines.serving.findings import Finding
from pipelines.serving.lint.opened import listing, whole

_SCALES = ("weight_scale_inv", "weight_scale")


def rules(path: Path, stated: Mapping[str, Any], tensors: Mapping[str, Located]) -> list[Finding]:
    """Every matrix of 8-bit floats must have its scale, one a block or one a matrix. `path` is the config's file."""
    block = [size for size in map(whole, listing(stated.get("weight_block_size"))) if size]
    bare, odd = [], []
    for name, place in tensors.items():
        if not name.endswith(".weight") or place.info.dtype != "F8_E4M3":
            continue
        stem, shape = name.removesuffix("weight"), place.info.shape
        scale = next((tensors[stem + end] for end in _SCALES if stem + end in tensors), None)
        wanted = tuple(math.ceil(size / by) for size, by in zip(shape, block, strict=False))
        if scale is None:
            bare.append(name)
        elif len(block) == 2 and scale.info.shape != wanted:
            odd.append(f"{name}: {list(scale.info.shape)}, not {list(wanted)}")
    found = []
    if bare:
        what = f"lacks scales: vLLM multiplies by memory that nobody wrote: {len(bare)} layers"
        found.append(Finding("quantised-scale-missing", "E", str(path), what, bare[0], "Quantise the model again"))
    if odd:
        what = f"has scales of other shapes than weight_block_size says: {len(odd)} layers"
        found.append(Finding("quantised-shape", "E", str(path), what, odd[0], "Correct weight_block_size"))
    return found
