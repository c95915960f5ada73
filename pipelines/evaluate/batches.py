"""Batches that are even in length and bounded in memory."""

from collections.abc import Iterator, Sequence

import torch

LOGITS = 2**26
"""Most logits at once: 256 MiB in float32."""


def batches(lengths: Sequence[int], vocab: int, most: int) -> Iterator[list[int]]:
    """Indices in batches of at most `most` rows, longest first, that hold at most LOGITS padded logits each.

    A row that is larger than that alone gets a batch of its own.
    """
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    start = 0
    while start < len(order):
        rows = max(1, min(most, LOGITS // (vocab * lengths[order[start]])))
        yield order[start : start + rows]
        start += rows


def pad(rows: Sequence[Sequence[int]], value: int, device: torch.device) -> torch.Tensor:
    """Rows as one (rows, longest) int64 tensor, padded on the right."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows], device=device)
