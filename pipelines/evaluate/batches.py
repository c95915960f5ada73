"""Batches that are even in length and bounded in memory."""

from collections.abc import Sequence
from typing import NamedTuple, Self

import torch

LOGITS = 2**26
"""Most logits at once: 256 MiB in float32."""


class Padding(NamedTuple):
    """Tokens that were computed, and those of them that only filled up shorter rows."""

    tokens: int
    padded: int

    def __add__(self, other: Self) -> "Padding":  # type: ignore[override]
        return Padding(self.tokens + other.tokens, self.padded + other.padded)

    @property
    def share(self) -> float:
        return self.padded / self.tokens if self.tokens else 0.0


def padding(lengths: Sequence[Sequence[int]]) -> Padding:
    """Of batches of rows, each padded to its longest."""
    tokens = sum(max(batch) * len(batch) for batch in lengths)
    return Padding(tokens, tokens - sum(map(sum, lengths)))


def batches(lengths: Sequence[int], vocab: int, most: int) -> list[list[int]]:
    """Indices in batches of at most `most` rows, longest first, that hold at most LOGITS padded logits each.

    A row that is larger than that alone gets a batch of its own.
    """
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    made, start = [], 0
    while start < len(order):
        rows = max(1, min(most, LOGITS // (vocab * lengths[order[start]])))
        made.append(order[start : start + rows])
        start += rows
    return made


def pad(rows: Sequence[Sequence[int]], value: int, device: torch.device) -> torch.Tensor:
    """Rows as one (rows, longest) int64 tensor, padded on the right."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows], device=device)
