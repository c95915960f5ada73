"""Picking one of several by a score, among those that lose no more than is allowed."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Scores = Mapping[str, Mapping[str, Any]]
"""Score by name: its value, group and lower_is_better, as scores.json holds them."""


class Row(NamedTuple):
    """One candidate: its score, its largest loss in each limited group, and whether all of them are allowed."""

    name: str
    score: float
    drops: dict[str, float]
    admissible: bool


def table(candidates: Mapping[str, Scores], base: Scores, metric: str, limits: Mapping[str, float]) -> list[Row]:
    """A row for every candidate, in their order."""
    rows = []
    for name, scores in candidates.items():
        drops = {group: drop(scores, base, group) for group in limits}
        admissible = all(drops[group] <= limit for group, limit in limits.items())
        rows.append(Row(name, scores[metric]["value"], drops, admissible))
    return rows


def drop(scores: Scores, base: Scores, group: str) -> float:
    """The largest loss against the base among the scores of a group; below 0 where all have gained.

    The largest and not the mean: a mean over units, of an accuracy and bits per byte say, has no unit.
    """
    return max(
        float(score["value"] - base[name]["value"]) * (1 if score["lower_is_better"] else -1)
        for name, score in scores.items()
        if score["group"] == group
    )


def best(rows: Sequence[Row], largest: bool) -> Row | None:
    """The admissible row with the largest or the smallest score, the first of equals; None where none is admissible."""
    admissible = [row for row in rows if row.admissible]
    if not admissible:
        return None
    return (max if largest else min)(admissible, key=lambda row: row.score)
