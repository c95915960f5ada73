"""Warnings about the types of the weights and the sizes that serving depends on."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipelines.hf.folder import CONFIG
from pipelines.hf.safetensors import BITS, Located
from pipelines.serving.findings import Finding
from pipelines.serving.lint.opened import mapping, whole
from pipelines.serving.lint.packed import packed

_POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "seq_length", "n_ctx")
_LONGEST = 20_000_000
# What one accelerator of 80 GB has beside activations and a cache.
_ONE_DEVICE = 60_000_000_000


def rules(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Located]) -> list[Finding]:
    """What is told about numbers of a sound model."""
    types = [] if packed(tensors) else _types(folder, tensors)
    return [*types, *_positions(folder, config), *_parallel(folder, config, tensors)]


def _types(folder: Path, tensors: Mapping[str, Located]) -> Iterator[Finding]:
    """Of matrices alone: models keep small vectors in float32 on purpose."""
    size: Counter[str] = Counter()
    for place in tensors.values():
        if len(place.info.shape) > 1:
            size[place.info.dtype] += place.info.elements * BITS[place.info.dtype] // 8
    wide = size["F32"] + size["F64"]
    if wide > size.total() / 2:
        what = (
            "has float32 weights: vLLM rounds them to bfloat16 by itself, and the files are twice as large as need be"
        )
        yield Finding("float32-weights", "W", str(folder), what, f"{wide / 1e9:.2f} GB", "Export with dtype: bfloat16")
    elif len(size) > 1:
        what, got = "has matrices of several types: engines cast them all to one", ", ".join(sorted(size))
        yield Finding("mixed-types", "W", str(folder), what, got, "Export with one dtype")


def _positions(folder: Path, config: Mapping[str, Any]) -> Iterator[Finding]:
    text = mapping(config.get("text_config")) or config
    length = next((text[name] for name in _POSITIONS if text.get(name) is not None), None)
    where, fix = str(folder / CONFIG), "Set it to the longest sequence, in tokens, that the model was trained for"
    if length is None:
        what = "names no max_position_embeddings: vLLM takes 2048"
        yield Finding("no-max-length", "W", where, what, "", fix)
    elif not (whole(length) and 16 <= length <= _LONGEST):
        yield Finding("max-length", "W", where, "max_position_embeddings is no length of a model", str(length), fix)


def _parallel(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Located]) -> Iterator[Finding]:
    """Heads that eight devices cannot share, of a model that one device cannot hold."""
    size = sum(place.info.end - place.info.start for place in tensors.values())
    heads = whole((mapping(config.get("text_config")) or config).get("num_attention_heads"))
    if size > _ONE_DEVICE and heads and heads % 8:
        usable = [ways for ways in (2, 4) if heads % ways == 0]
        what = "has heads that 8 devices cannot share, and needs more than one"
        fix = (
            f"Serve it with --tensor-parallel-size {usable[-1]}" if usable else "Serve it with --pipeline-parallel-size"
        )
        yield Finding("heads-tensor-parallel", "W", str(folder / CONFIG), what, f"{heads} heads", fix)
