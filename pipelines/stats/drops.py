"""What one model lost against another in a group of scores; light, because it needs their values alone."""

from collections.abc import Mapping
from typing import Any

Scores = Mapping[str, Mapping[str, Any]]
"""Score by name: its value, group and lower_is_better, as scores.json holds them."""


def drop(scores: Scores, base: Scores, group: str) -> float:
    """The largest loss against the base among the scores of a group; below 0 where all have gained.

    The largest and not the mean: a mean over units, of an accuracy and bits per byte say, has no unit.
    """
    return max(
        float(score["value"] - base[name]["value"]) * (1 if score["lower_is_better"] else -1)
        for name, score in scores.items()
        if score["group"] == group
    )
