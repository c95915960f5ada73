"""What is wrong with the values of weights: not finite, all zero, or larger than training leaves them.

Every byte is read once, a few megabytes at a time on each core. vLLM looks at none of them.
"""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from math import isfinite
from pathlib import Path
from typing import NamedTuple

import torch

from pipelines.engine.progress import progress
from pipelines.errors import few, wrong
from pipelines.hf.rewrite import FLOATS
from pipelines.hf.safetensors import Located
from pipelines.serving.findings import Finding
from pipelines.serving.lint.weights_files import stored

_READ = 1 << 22  # bytes
_CODES = {"F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2} | FLOATS
_FLOAT16_MAX = 65504.0
# Trained weights stay below thousands; bytes read as the wrong type reach 1e30.
_EXPLODED = 1e8
_AGAIN = "Train, merge or copy the model again: its weights are destroyed"
_BIAS = ("bias", "_bias_blocks")
# Blocks added to a model start with zeros here, and do nothing until they are trained.
_MAY_BE_ZERO = ("o_proj.weight", "down_proj.weight", "out_proj.weight", "c_proj.weight", "w2.weight")


class Extremes(NamedTuple):
    """The least and the greatest value of a tensor; both NaN where one value is."""

    name: str
    dimensions: int
    low: float
    high: float

    @property
    def largest(self) -> float:
        return max(-self.low, self.high)


def scan(folder: Path) -> list[Finding]:
    """Findings about the values of every floating point tensor whose file can be read. It reads all bytes."""
    held = stored(folder).tensors
    tensors = {name: place for name, place in held.items() if place.info.dtype in _CODES and place.info.elements}
    found = list(_read(tensors))
    infinite = [one for one in found if not (isfinite(one.low) and isfinite(one.high))]
    large = [one for one in found if one not in infinite and one.largest > _EXPLODED]
    over = [one for one in found if one not in infinite and _FLOAT16_MAX < one.largest <= _EXPLODED]
    # Biases, and norms that are stored as their difference from one, are zero in healthy models; so is any vector.
    zero = [one for one in found if one.low == one.high == 0 and one.dimensions > 1 and not one.name.endswith(_BIAS)]
    quiet = [one for one in zero if one.name.endswith(_MAY_BE_ZERO)]
    dead = [one for one in zero if one not in quiet]
    return [
        *_finding(
            folder, "not-finite", "E", infinite, "hold NaN or infinite values: the model answers nonsense", _AGAIN
        ),
        *_finding(folder, "exploded-weights", "E", large, "hold values that no training leaves", _AGAIN),
        *_finding(folder, "zero-weights", "E", dead, "are all zero", "Copy or export the model again"),
        *_finding(
            folder, "zero-outputs", "W", quiet, "are all zero: their layers do nothing", "See that this is meant"
        ),
        *_finding(folder, "float16-overflow", "W", over, "are infinite in float16", "Serve it with --dtype bfloat16"),
    ]


def _finding(folder: Path, rule: str, severity: str, those: list[Extremes], what: str, fix: str) -> Iterator[Finding]:
    if those:
        got = few([f"{one.name} {one.low:.3g} to {one.high:.3g}" for one in those])
        yield Finding(rule, "E" if severity == "E" else "W", str(folder), f"{len(those)} tensors {what}", got, fix)


def _read(tensors: dict[str, Located]) -> Iterable[Extremes]:
    """Extremes of each tensor in the order of the files, on as many threads as there are cores."""
    total, done = sum(place.info.end - place.info.start for place in tensors.values()), 0
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for one in pool.map(_extremes, tensors.items()):
            info = tensors[one.name].info
            done += info.end - info.start
            progress(done, total, "bytes")
            yield one


def _extremes(entry: tuple[str, Located]) -> Extremes:
    name, (path, info) = entry
    size = info.end - info.start
    buffer = bytearray(min(_READ, size))
    ends: list[torch.Tensor] = []
    with path.open("rb") as file:
        file.seek(info.start)
        for at in range(0, size, len(buffer)):
            piece = memoryview(buffer)[: min(len(buffer), size - at)]
            if file.readinto(piece) != len(piece):
                raise wrong(
                    str(path), "became shorter while it was read", "", "Wait until it is written, then run again"
                )
            ends += _ends(torch.frombuffer(piece, dtype=_CODES[info.dtype]))
    low, high = torch.aminmax(torch.stack(ends))
    return Extremes(name, len(info.shape), float(low), float(high))


def _ends(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The least and the greatest value, in float64; both NaN where one is."""
    wide = values if values.dtype in FLOATS.values() else values.float()
    low, high = torch.aminmax(wide)
    return low.double(), high.double()
