"""How the rows of a step become forward passes: dealt out by length, then laid end to end without padding."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from pipelines.hf.chat import IGNORED

WORTH_SHARING = 4
"""A common prefix of fewer tokens is computed again for every row, without the masks that sharing needs."""


class Row(NamedTuple):
    """A tokenised row: ids and labels of one length, labels not shifted, IGNORED where no loss is taken."""

    input_ids: np.ndarray
    labels: np.ndarray

    @property
    def targets(self) -> np.ndarray:
        """Positions whose token is predicted with loss. The first token has nothing before it to be predicted from."""
        return np.flatnonzero(self.labels[1:] != IGNORED) + 1


class Span(NamedTuple):
    """So many tokens of a pack, which see one another causally and, before that, all of the span numbered `prefix`."""

    length: int
    prefix: int | None = None


@dataclass(frozen=True)
class Layout:
    """The spans of a pack, end to end. One object, so that whatever moves batches to devices leaves it whole."""

    spans: tuple[Span, ...]


class Pack(NamedTuple):
    """Rows laid end to end, T tokens with N targets among them.

    `input_ids` and `position_ids` [1, T]; `keep` [N]: the positions whose next token is a target; `targets` [N]: those
    tokens; `replayed` [N]: whether they come from a replayed row.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    layout: Layout
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


def pack(rows: Sequence[Row], replayed: Sequence[bool], share: bool = False) -> Pack:
    """Rows end to end, positions starting from 0 in each. No rows give one token without a target.

    With `share`, rows that begin with the same prompt have it once: all that follows from it is the same for each of
    them. A shared prefix ends before the first token that predicts a target, so every target keeps a place of its own.
    """
    if not rows:
        rows, replayed = [Row(np.zeros(1, np.int64), np.full(1, IGNORED, np.int64))], [False]
    ids, positions, keep, targets, old = [], [], [], [], []
    spans: list[Span] = []
    end = 0
    for group, shared in _groups(rows) if share else (([number], 0) for number in range(len(rows))):
        prefix = len(spans) if shared else None
        if shared:
            spans.append(Span(shared))
            ids.append(rows[group[0]].input_ids[:shared])
            positions.append(np.arange(shared))
            end += shared
        for number in group:
            row, length = rows[number], len(rows[number].input_ids)
            spans.append(Span(length - shared, prefix))
            ids.append(row.input_ids[shared:])
            positions.append(np.arange(shared, length))
            keep.append(end - shared + row.targets - 1)
            targets.append(row.labels[row.targets])
            old.append(np.full(len(row.targets), replayed[number]))
            end += length - shared
    return Pack(
        input_ids=_tensor(ids)[None],
        position_ids=_tensor(positions)[None],
        layout=Layout(tuple(spans)),
        keep=_tensor(keep),
        targets=_tensor(targets),
        replayed=_tensor(old).bool(),
    )


def _groups(rows: Sequence[Row]) -> Iterator[tuple[list[int], int]]:
    """Rows that begin alike and how many tokens they share, 0 where that is not worth it.

    In lexical order, rows that begin alike are neighbours; a group grows as long as that saves tokens.
    """
    order = sorted(range(len(rows)), key=lambda number: (rows[number].input_ids.tolist(), number))
    group, shared = order[:1], _prompt(rows[order[0]])
    for number in order[1:]:
        wider = _common(rows[group[0]].input_ids, rows[number].input_ids, min(shared, _prompt(rows[number])))
        if wider >= WORTH_SHARING and len(group) * wider >= (len(group) - 1) * shared:
            group, shared = [*group, number], wider
        else:
            yield group, shared if len(group) > 1 else 0
            group, shared = [number], _prompt(rows[number])
    yield group, shared if len(group) > 1 else 0


def _prompt(row: Row) -> int:
    """How many tokens come before the first that predicts a target."""
    targets = row.targets
    return int(targets[0]) - 1 if len(targets) else 0


def _common(one: np.ndarray, other: np.ndarray, most: int) -> int:
    """The length of what both begin with, `most` at most."""
    differ = np.flatnonzero(one[:most] != other[:most])
    return int(differ[0]) if len(differ) else most


def _tensor(pieces: Sequence[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.concatenate(pieces).astype(np.int64))
