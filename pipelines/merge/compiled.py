"""The kernels of `kernels` compiled by numba (BSD-2-Clause) for the CPU: one pass over a slice in place of many.

They work on blocks that stay in the first cache, with the multiplications and additions of the reference in the same
order and without fusing any, so the results are equal bit for bit; a test compares them. The machine code is kept
beside this file, or in NUMBA_CACHE_DIR, so it is made once.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt
import torch

from pipelines.merge.kernels import LARGEST, TINY, Kernels, reference

Floats = npt.NDArray[np.float32]
Halves = npt.NDArray[np.uint16]
F = TypeVar("F", bound=Callable[..., Any])

BLOCK, LANES = 2048, 32
MAGNITUDE, EXPONENT = np.int32(LARGEST), np.uint32(0x7F800000)
ZERO, ONE, LEAST, INFINITE = np.float32(0), np.float32(1), np.float32(TINY), np.float32(np.inf)


def _compiled(function: F) -> F:
    """Compiled at the first call; the interpreter's lock is let go while it runs."""
    try:
        return cast(F, numba.njit(nogil=True, cache=True, error_model="numpy")(function))
    except RuntimeError:  # there is no place to keep machine code in
        return cast(F, numba.njit(nogil=True, error_model="numpy")(function))


@_compiled
def _differences(values: tuple[Halves, ...], base: Halves, origin: Floats, out: Floats) -> None:
    """bf16 is the upper half of fp32."""
    for at in range(0, base.shape[0], BLOCK):
        end = min(base.shape[0], at + BLOCK)
        _widen(base[at:end], origin[at:end])
        start = origin[at:end]
        for index in range(len(values)):
            row = out[index, at:end]
            _widen(values[index][at:end], row)
            for j in range(end - at):
                row[j] -= start[j]


@_compiled
def _widen(halves: Halves, out: Floats) -> None:
    bits = out.view(np.uint32)
    for j in range(halves.shape[0]):
        bits[j] = np.uint32(halves[j]) << np.uint32(16)


@_compiled
def _narrow(values: Floats, out: Halves) -> bool:
    """Round to bf16; whether all values were and are finite."""
    bits, odd = values.view(np.uint32), np.uint32(0)
    for j in range(out.shape[0]):
        word = bits[j]
        half = (word + np.uint32(0x7FFF) + ((word >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
        out[j] = np.uint16(half)
        odd |= np.uint32((word & EXPONENT) == EXPONENT) | np.uint32((half << np.uint32(16)) & EXPONENT == EXPONENT)
    return bool(odd == 0)


@_compiled
def _mean(values: tuple[Floats, ...], shares: Floats, heaviest: int, out: Floats) -> None:
    size = out.shape[0]
    for at in range(0, size, BLOCK):
        end = min(size, at + BLOCK)
        origin = values[heaviest][at:end]
        mean = out[at:end]
        mean[:] = origin
        for index in range(len(values)):
            if index != heaviest:
                share, other = shares[index], values[index][at:end]
                for j in range(end - at):
                    mean[j] -= (origin[j] - other[j]) * share


@_compiled
def _add(base: Floats, deltas: Floats, weights: Floats, scale: np.float32, out: Floats) -> None:
    count, size = deltas.shape
    for at in range(0, size, BLOCK):
        end = min(size, at + BLOCK)
        total, first = out[at:end], deltas[0, at:end]
        for j in range(end - at):
            total[j] = first[j] * weights[0]
        for index in range(1, count):
            weight, delta = weights[index], deltas[index, at:end]
            for j in range(end - at):
                total[j] += delta[j] * weight
        start = base[at:end]
        for j in range(end - at):
            total[j] = start[j] - (ZERO - total[j] * scale)


@_compiled
def _elect(
    base: Floats, deltas: Floats, weights: Floats, scale: np.float32, divide: bool, count: bool, out: Floats
) -> None:
    models, size = deltas.shape
    flip, mass = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    for at in range(0, size, BLOCK):
        end = min(size, at + BLOCK)
        length = end - at
        total, start = out[at:end], base[at:end]
        total[:] = ZERO
        for index in range(models):
            weight, vote = weights[index], deltas[index, at:end]
            if count:
                for j in range(length):
                    vote[j] *= weight
                    total[j] += np.float32(np.sign(vote[j])) * weight
            else:
                for j in range(length):
                    vote[j] *= weight
                    total[j] += vote[j]
        for j in range(length):
            flip[j] = -ONE if total[j] < ZERO else ONE
            total[j] = ZERO
            mass[j] = ZERO
        for index in range(models):
            weight, vote = weights[index], deltas[index, at:end]
            for j in range(length):
                turned = vote[j] * flip[j]
                # Written so that a NaN is added, as the reference adds it.
                total[j] += ZERO if turned <= ZERO else turned
                mass[j] += weight if turned > ZERO else ZERO
        if divide:
            for j in range(length):
                total[j] /= mass[j] if mass[j] > LEAST else LEAST
        for j in range(length):
            total[j] = start[j] - (ZERO - total[j] * flip[j] * scale)


@_compiled
def _keep_between(delta: Floats, low: np.float32, high: np.float32) -> None:
    for j in range(delta.shape[0]):
        size = abs(delta[j])
        delta[j] = ZERO if (size < low) | ((size > high) & (size < INFINITE)) else delta[j]


@_compiled
def _drop(delta: Floats, words: npt.NDArray[np.uint16], level: np.uint16, scale: np.float32) -> None:
    for j in range(delta.shape[0]):
        delta[j] = (delta[j] * (ONE if words[j] < level else ZERO)) * scale


@_compiled
def _bracket(bits: npt.NDArray[np.int32], low: np.int32, high: np.int32, inside: npt.NDArray[np.int32]) -> Any:
    above, within, size = np.int32(0), np.uint64(0), bits.shape[0]
    # Unsigned, what is below `low` wraps round to large numbers: one comparison does for two.
    width = np.uint32(high - low)
    for at in range(0, size // LANES * LANES, LANES):
        block = bits[at : at + LANES]
        hits = np.int32(0)
        for j in range(LANES):
            magnitude = block[j] & MAGNITUDE
            above += np.int32(magnitude > high)
            hits += np.int32(np.uint32(magnitude - low) <= width)
        if hits > 0:
            # A branch for each element costs more than a store for each.
            for j in range(LANES):
                magnitude = block[j] & MAGNITUDE
                inside[within] = magnitude
                within += np.uint64(np.uint32(magnitude - low) <= width)
    for at in range(size // LANES * LANES, size):
        magnitude = bits[at] & MAGNITUDE
        above += np.int32(magnitude > high)
        inside[within] = magnitude
        within += np.uint64(np.uint32(magnitude - low) <= width)
    return above, within


class _Compiled:
    """The kernels on tensors in the CPU's memory."""

    def subtract(self, value: torch.Tensor, base: torch.Tensor, out: torch.Tensor) -> None:
        if value.dtype == base.dtype == torch.bfloat16:
            origin = np.empty(len(base), np.float32)
            _differences((_halves(value),), _halves(base), origin, out.numpy()[None])
        else:
            reference.subtract(value, base, out)

    def differences(self, values: Sequence[torch.Tensor], base: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if any(tensor.dtype != torch.bfloat16 for tensor in (base, *values)):
            return reference.differences(values, base)
        origin, rows = torch.empty(len(base)), torch.empty((len(values), len(base)))
        _differences(tuple(map(_halves, values)), _halves(base), origin.numpy(), rows.numpy())
        return origin, rows

    def rounded(self, values: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, bool]:
        if dtype != torch.bfloat16:
            return reference.rounded(values, dtype)
        made = torch.empty_like(values, dtype=dtype)
        finite = _narrow(values.numpy(), _halves(made))
        return (made, True) if finite else reference.rounded(values, dtype)

    def mean(self, values: Sequence[torch.Tensor], shares: Sequence[float]) -> torch.Tensor:
        heaviest = max(range(len(shares)), key=lambda index: abs(shares[index]))
        out = torch.empty_like(values[0])
        slices = tuple(value.numpy() for value in values)
        _mean(slices, np.array(shares, np.float32), heaviest, out.numpy())
        return out

    def add(self, base: torch.Tensor, deltas: torch.Tensor, weights: Sequence[float], lambda_: float) -> torch.Tensor:
        out = torch.empty_like(base)
        _add(base.numpy(), deltas.numpy(), np.array(weights, np.float32), np.float32(lambda_), out.numpy())
        return out

    def elect(
        self,
        base: torch.Tensor,
        deltas: torch.Tensor,
        weights: Sequence[float],
        lambda_: float,
        divide: bool,
        count: bool,
    ) -> torch.Tensor:
        out = torch.empty_like(base)
        scaled = np.array(weights, np.float32)
        _elect(base.numpy(), deltas.numpy(), scaled, np.float32(lambda_), divide, count, out.numpy())
        return out

    def keep_between(self, deltas: torch.Tensor, low: Sequence[float], high: Sequence[float]) -> torch.Tensor:
        for delta, least, most in zip(deltas, low, high, strict=True):
            _keep_between(delta.numpy(), np.float32(least), np.float32(most))
        return deltas

    def drop(self, delta: torch.Tensor, words: npt.NDArray[np.uint16], level: int, scale: float) -> torch.Tensor:
        _drop(delta.numpy(), words, np.uint16(level), np.float32(scale))
        return delta

    def bracket(self, delta: torch.Tensor, low: int, high: int, inside: torch.Tensor) -> tuple[int, int]:
        above, within = _bracket(delta.view(torch.int32).numpy(), np.int32(low), np.int32(high), inside.numpy())
        return int(above), int(within)


def _halves(tensor: torch.Tensor) -> Halves:
    """The bits of bf16 numbers."""
    return tensor.view(torch.uint16).numpy()


compiled: Kernels = _Compiled()
