"""Weights of a folder written again, in another type or other shards, with a few megabytes of them in memory."""

import json
import math
import os
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from pipelines.engine.progress import progress
from pipelines.errors import wrong
from pipelines.hf.safetensors import BITS, INDEX, SINGLE, Located, tensor_map
from pipelines.hf.shards import require_space
from pipelines.hf.threads import one_thread_each

FLOATS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
CODES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
_CHUNK = 4_194_304  # elements
# Tensors that start at multiples of this are read without a copy by every loader.
_ALIGNMENT = 64
# Elsewhere bytes are sent to sockets alone.
_SENDS = sys.platform == "linux"


class Planned(NamedTuple):
    """A tensor to write: where it comes from and the type it gets."""

    name: str
    source: Located
    dtype: str

    @property
    def bytes(self) -> int:
        return self.source.info.elements * BITS[self.dtype] // 8


def rewrite(
    source: Path, out: Path, dtype: str = "keep", max_shard_size: int = 5_000_000_000, leave_out: Iterable[str] = ()
) -> list[Path]:
    """Write the weights of `source` into `out` and return the files: one, or shards of at most `max_shard_size` bytes.

    `dtype` is keep, float32, bfloat16 or float16 and applies to floating point tensors; each value is rounded once.
    A tensor larger than the shard size gets a shard of its own. UserError where a value is NaN or infinite, before or
    after rounding, and where the disk is too full.
    """
    skip = set(leave_out)
    plan = [_plan(name, place, dtype) for name, place in tensor_map(source).items() if name not in skip]
    shards = list(_shards(plan, max_shard_size))
    total = sum(tensor.bytes for tensor in plan)
    require_space(out, total)
    names = (
        [SINGLE]
        if len(shards) == 1
        else [f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
    )
    done = 0
    for name, shard in zip(names, shards, strict=True):
        done = _write_shard(out / name, shard, done, total)
    if len(shards) > 1:
        weight_map = {tensor.name: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
        (out / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return [out / name for name in names]


def _plan(name: str, place: Located, dtype: str) -> Planned:
    kept = dtype == "keep" or place.info.dtype not in FLOATS
    return Planned(name, place, place.info.dtype if kept else CODES[dtype])


def _shards(plan: list[Planned], limit: int) -> Iterator[list[Planned]]:
    shard: list[Planned] = []
    for tensor in plan:
        if shard and sum(other.bytes for other in shard) + tensor.bytes > limit:
            yield shard
            shard = []
        shard.append(tensor)
    if shard:
        yield shard


def _write_shard(path: Path, shard: list[Planned], done: int, total: int) -> int:
    """One file. Wide types come first, as the format asks, so that every tensor is aligned."""
    ordered = sorted(shard, key=lambda tensor: -BITS[tensor.dtype])
    # On a busy machine several threads wait for each other longer than one takes.
    with path.open("wb", buffering=0) as out, one_thread_each(), ThreadPoolExecutor(1) as beside:
        _write_all(out, memoryview(_header(ordered)))
        for tensor in ordered:
            if _SENDS and tensor.dtype == tensor.source.info.dtype:
                checked = beside.submit(_require_finite, tensor)
                _copy(tensor.source, out)
                checked.result()
            else:
                for stored in chunks(tensor.source):
                    _write_all(out, _rounded(stored, tensor).view(torch.uint8).numpy().data)
            done += tensor.bytes
            progress(done, total, "bytes")
    return done


def _copy(place: Located, out: FileIO) -> None:
    """The bytes of a tensor from file to file inside the system, at half of what it takes to write mapped ones."""
    at, end = place.info.start, place.info.end
    with place.file.open("rb", buffering=0) as source:
        while at < end:
            copied = os.sendfile(out.fileno(), source.fileno(), at, end - at)
            if not copied:
                raise wrong(str(place.file), "became shorter while it was read", "", "Wait until it is written")
            at += copied


def _require_finite(tensor: Planned) -> None:
    if tensor.dtype in FLOATS:
        for stored in chunks(tensor.source):
            _rounded(stored, tensor)


def _write_all(out: FileIO, data: memoryview) -> None:
    """Linux takes at most 2 GiB a call, and less where the disk is nearly full."""
    while data.nbytes:
        data = data[out.write(data) :]


def _header(ordered: list[Planned]) -> bytes:
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for tensor in ordered:
        shape = list(tensor.source.info.shape)
        entries[tensor.name] = {"dtype": tensor.dtype, "shape": shape, "data_offsets": [at, at + tensor.bytes]}
        at += tensor.bytes
    text = json.dumps(entries, separators=(",", ":")).encode()
    padded = text + b" " * (-(8 + len(text)) % _ALIGNMENT)
    return len(padded).to_bytes(8, "little") + padded


def _rounded(stored: torch.Tensor, tensor: Planned) -> torch.Tensor:
    """A piece in the type that it gets. UserError where a value is not finite."""
    if tensor.dtype not in FLOATS:
        return stored
    rounded = stored.to(FLOATS[tensor.dtype])
    if finite(rounded):
        return rounded
    if finite(stored):
        raise wrong(tensor.name, f"holds values too large for {tensor.dtype}", "", "Use bfloat16 or float32")
    raise wrong(tensor.name, "holds NaN or infinite values", "", "The model is broken: train or merge it again")


def finite(values: torch.Tensor) -> bool:
    """Whether no value is NaN or infinite. Both extremes are NaN where any value is: one pass, ten times isfinite."""
    return not values.numel() or all(math.isfinite(float(extreme)) for extreme in torch.aminmax(values))


def chunks(place: Located) -> Iterator[torch.Tensor]:
    """A tensor in flat pieces of a few megabytes: of its own type where it is floating point, else of bytes.

    The pieces lie in the mapped file and take no memory of their own, but for those that are not aligned in it.
    """
    info = place.info
    if info.start == info.end:
        return
    # Copy on write, which torch takes without a warning: nothing is written.
    mapped = torch.from_numpy(np.memmap(place.file, np.uint8, "c", info.start, (info.end - info.start,)))
    dtype = FLOATS.get(info.dtype, torch.uint8)
    for piece in torch.split(mapped, _CHUNK * dtype.itemsize):
        yield (piece.clone() if info.start % dtype.itemsize else piece).view(dtype)
