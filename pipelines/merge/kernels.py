"""The arithmetic of the elementwise methods on one slice: in torch here, compiled in `compiled`, equal bit for bit.

All tensors are fp32 and flat; `deltas` is [models, elements] and may be overwritten. Every multiplication and addition
is rounded by itself, in the order written: nothing is fused, so that both give the same numbers on every machine.
"""

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import hardshrink

TINY = 1e-30
LARGEST, SIGN = 0x7FFFFFFF, -0x80000000


class Kernels(Protocol):
    """What is computed slice by slice."""

    def subtract(self, value: torch.Tensor, base: torch.Tensor, out: torch.Tensor) -> None:
        """value - base into `out`, in fp32, from slices of any float type."""

    def differences(self, values: Sequence[torch.Tensor], base: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The base in fp32, and values - base as rows: [models, elements]. Slices are of any float type."""

    def rounded(self, values: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, bool]:
        """The values in another type, rounded to nearest even, and whether none of them is NaN or infinite."""

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

    def keep_between(self, deltas: torch.Tensor, low: Sequence[float], high: Sequence[float]) -> torch.Tensor:
        """Set to 0, in place, what is smaller in magnitude than its model's `low` or larger than its `high`.

        What is not finite stays: it is no outlier but a broken model, and must be seen.
        """

    def drop(self, delta: torch.Tensor, words: npt.NDArray[np.uint16], level: int, scale: float) -> torch.Tensor:
        """Set to 0, in place, where the number in `words` is not below `level`; scale the others."""

    def bracket(self, delta: torch.Tensor, low: int, high: int, inside: torch.Tensor) -> tuple[int, int]:
        """How many magnitudes, as ordered int32, are above `high`, and how many of them in [low, high].

        These are put, in order, at the beginning of `inside`, which has room for one more than there are elements.
        """


class Reference:
    """The kernels as torch operations, on any device."""

    def subtract(self, value: torch.Tensor, base: torch.Tensor, out: torch.Tensor) -> None:
        torch.sub(value.float(), base.float(), out=out)

    def differences(self, values: Sequence[torch.Tensor], base: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        origin = base.float()
        return origin, torch.stack([value.float() - origin for value in values])

    def rounded(self, values: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, bool]:
        made = values.to(dtype)
        # The sum is finite wherever all values are, but for overflow: then every one is looked at.
        total = made.sum(dtype=torch.float32 if dtype == torch.float16 else None)
        return made, math.isfinite(total.item()) or bool(torch.isfinite(made).all())

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
        return plus(base, total.mul_(lambda_))

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
        flip = balance.view(torch.int32).bitwise_and_(SIGN)
        total, mass = torch.zeros_like(base), torch.zeros_like(base)
        for vote, weight in zip(votes, weights, strict=True):
            # Flipped where the elected sign is minus, what agrees is positive.
            agreeing = vote.view(torch.int32).bitwise_xor_(flip).view(torch.float32).relu_()
            total += agreeing
            mass += agreeing.sign_().mul_(weight)
        if divide:
            total /= mass.clamp_(min=TINY)
        total.view(torch.int32).bitwise_xor_(flip)
        return plus(base, total.mul_(lambda_))

    def keep_between(self, deltas: torch.Tensor, low: Sequence[float], high: Sequence[float]) -> torch.Tensor:
        for delta, least, most in zip(deltas, low, high, strict=True):
            if least > 0:
                # hardshrink keeps what is larger than its bound, and the least itself must stay.
                delta.copy_(hardshrink(delta, float(np.nextafter(np.float32(least), np.float32(0)))))
            if most < math.inf:
                size = delta.abs()
                delta.masked_fill_((size > most) & (size < math.inf), 0.0)
        return deltas

    def drop(self, delta: torch.Tensor, words: npt.NDArray[np.uint16], level: int, scale: float) -> torch.Tensor:
        keep = torch.from_numpy((words < level).astype(np.float32)).to(delta.device)
        return delta.mul_(keep).mul_(scale)

    def bracket(self, delta: torch.Tensor, low: int, high: int, inside: torch.Tensor) -> tuple[int, int]:
        bits = delta.view(torch.int32) & LARGEST
        found = bits[(bits >= low) & (bits <= high)]
        inside[: len(found)] = found
        return int(torch.count_nonzero(bits > high)), len(found)


def plus(base: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
    """base + added. Nothing added to a base of -0 leaves -0: 0 - t is +0 for a zero of either sign."""
    return base - (0.0 - added)


reference: Kernels = Reference()
