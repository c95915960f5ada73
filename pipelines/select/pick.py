"""Picking one of several by a score, among those that lose no more than is allowed."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pipelines.stats.drops import Scores, drop


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


def best(rows: Sequence[Row], largest: bool) -> Row | None:
    """The admissible row with the largest or the smallest score, the first of equals; None where none is admissible."""
    admissible = [row for row in rows if row.admissible]
    if not admissible:
        return None
    return (max if largest else min)(admissible, key=lambda row: row.score)
