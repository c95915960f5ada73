"""How the rows of a step become forward passes: dealt out by length, then laid end to end without padding."""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import torch

from pipelines.hf.chat import IGNORED


class Row(NamedTuple):
    """A tokenised row: ids and labels of one length, labels not shifted, IGNORED where no loss is taken."""

    input_ids: np.ndarray
    labels: np.ndarray

    @property
    def targets(self) -> np.ndarray:
        """Positions whose token is predicted with loss. The first token has nothing before it to be predicted from."""
        return np.flatnonzero(self.labels[1:] != IGNORED) + 1


class Pack(NamedTuple):
    """Rows laid end to end, T tokens with N targets among them.

    `input_ids` and `position_ids` [1, T]; `spans`: the length of each row; `keep` [N]: the positions whose next token
    is a target; `targets` [N]: those tokens; `replayed` [N]: whether they come from a replayed row.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    spans: list[int]
    keep: torch.Tensor
    targets: torch.Tensor
    replayed: torch.Tensor


def deal(lengths: Sequence[int], parts: int, capacity: int) -> list[list[int]]:
    """Row numbers in `parts` hands of `capacity` rows at most and about equal tokens, the fullest hand first.

    Longest row first, each to the hand with the fewest tokens (Graham 1969). Hands are empty where rows are too few.
    """
    hands: list[list[int]] = [[] for _ in range(parts)]
    tokens = [0] * parts
    for row in sorted(range(len(lengths)), key=lambda row: (-lengths[row], row)):
        to = min((hand for hand in range(parts) if len(hands[hand]) < capacity), key=lambda hand: (tokens[hand], hand))
        hands[to].append(row)
        tokens[to] += lengths[row]
    fullest = sorted(range(parts), key=lambda hand: (-tokens[hand], hand))
    return [sorted(hands[hand]) for hand in fullest]


def pack(rows: Sequence[Row], replayed: Sequence[bool]) -> Pack:
    """Rows end to end, positions starting from 0 in each. No rows give one token without a target."""
    if not rows:
        empty = Row(np.zeros(1, np.int64), np.full(1, IGNORED, np.int64))
        return pack([empty], [False])
    spans = [len(row.input_ids) for row in rows]
    starts = [0, *accumulate(spans)]
    targets = [row.targets for row in rows]
    return Pack(
        input_ids=_tensor([row.input_ids for row in rows])[None],
        position_ids=torch.cat([torch.arange(span) for span in spans])[None],
        spans=spans,
        keep=_tensor([start + at - 1 for start, at in zip(starts, targets, strict=False)]),
        targets=_tensor([row.labels[at] for row, at in zip(rows, targets, strict=True)]),
        replayed=torch.tensor([old for old, at in zip(replayed, targets, strict=True) for _ in at], dtype=torch.bool),
    )


def _tensor(pieces: Sequence[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.concatenate(pieces).astype(np.int64))
