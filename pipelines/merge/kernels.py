"""The arithmetic of the elementwise methods on one slice: in torch here, compiled in `compiled`, equal bit for bit.

All tensors are fp32 and flat; `deltas` is [models, elements] and may be overwritten. Every multiplication and addition
is rounded by itself, in the order written: nothing is fused, so that both give the same numbers on every machine.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

TINY = 1e-30
_LARGEST = 0x7FFFFFFF


class Kernels(Protocol):
    """What is computed slice by slice."""

    def mean(self, values: Sequence[torch.Tensor], shares: Sequence[float]) -> torch.Tensor:
        """The mean of slices, whose `shares` sum to 1; see `linear`. Slices are only read."""

    def add(self, base: torch.Tensor, deltas: torch.Tensor, weights: Sequence[float], lambda_: float) -> torch.Tensor:
        """base + lambda sum_i w_i delta_i."""

    def elect(
        self,
        base: torch.Tensor,
        deltas: torch.Tensor,
        weights: Sequence[float],
        lambda_: float,
        divide: bool,
        count: bool,
    ) -> torch.Tensor:
        """base + lambda times the sum of those w_i delta_i that have the elected sign.

        The sign is that of sum_i w_i delta_i, or with `count` of sum_i w_i sign(delta_i); + where it is 0. With
        `divide` the sum is divided by the sum of the weights of those that have it.
        """

    def keep_between(self, deltas: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
        """Set to 0, in place, what is smaller in magnitude than `low` or larger than `high`, each [models]."""

    def drop(self, delta: torch.Tensor, words: npt.NDArray[np.uint16], level: int, scale: float) -> torch.Tensor:
        """Set to 0, in place, where the number in `words` is not below `level`; scale the others."""

    def bracket(self, delta: torch.Tensor, low: int, high: int) -> tuple[int, torch.Tensor]:
        """How many magnitudes, as ordered int32, are above `high`, and those in [low, high], in order."""


class _Reference:
    """The kernels as torch operations, on any device."""

    def mean(self, values: Sequence[torch.Tensor], shares: Sequence[float]) -> torch.Tensor:
        heaviest = max(range(len(shares)), key=lambda index: abs(shares[index]))
        origin = values[heaviest]
        mean = origin
        for index, (other, share) in enumerate(zip(values, shares, strict=True)):
            if index != heaviest:
                # The difference of equal numbers is +0; subtracting +0, unlike adding it, keeps the sign of -0.
                mean = mean - (origin - other) * share
        return mean

    def add(self, base: torch.Tensor, deltas: torch.Tensor, weights: Sequence[float], lambda_: float) -> torch.Tensor:
        total = deltas[0] * weights[0]
        for delta, weight in zip(deltas[1:], weights[1:], strict=True):
            total += delta * weight
        return _plus(base, total, lambda_)

    def elect(
        self,
        base: torch.Tensor,
        deltas: torch.Tensor,
        weights: Sequence[float],
        lambda_: float,
        divide: bool,
        count: bool,
    ) -> torch.Tensor:
        votes = [delta.mul_(weight) for delta, weight in zip(deltas, weights, strict=True)]
        balance = torch.zeros_like(base)
        for vote, weight in zip(votes, weights, strict=True):
            balance += vote.sign() * weight if count else vote
        minus = balance < 0
        total, mass = torch.zeros_like(base), torch.zeros_like(base)
        for vote, weight in zip(votes, weights, strict=True):
            # Flipped where the elected sign is minus, what agrees is positive. A NaN stays one.
            agreeing = torch.where(minus, -vote, vote).relu()
            total += agreeing
            mass += agreeing.sign() * weight
        if divide:
            total /= mass.clamp_(min=TINY)
        return _plus(base, torch.where(minus, -total, total), lambda_)

    def keep_between(self, deltas: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
        size = deltas.abs()
        return deltas.masked_fill_((size < low[:, None]) | (size > high[:, None]), 0.0)

    def drop(self, delta: torch.Tensor, words: npt.NDArray[np.uint16], level: int, scale: float) -> torch.Tensor:
        keep = torch.from_numpy((words < level).astype(np.float32)).to(delta.device)
        return delta.mul_(keep).mul_(scale)

    def bracket(self, delta: torch.Tensor, low: int, high: int) -> tuple[int, torch.Tensor]:
        bits = delta.view(torch.int32) & _LARGEST
        return int(torch.count_nonzero(bits > high)), bits[(bits >= low) & (bits <= high)]


def _plus(base: torch.Tensor, total: torch.Tensor, lambda_: float) -> torch.Tensor:
    """base + lambda total. Nothing added to a base of -0 leaves -0: 0 - t is +0 for a zero of either sign."""
    return base - (0.0 - total.mul_(lambda_))


reference: Kernels = _Reference()
