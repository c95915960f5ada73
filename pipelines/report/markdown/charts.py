"""Pictures made of characters, which a comment on GitHub can hold."""

from collections.abc import Sequence
from itertools import pairwise

_LEVELS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int = 24) -> str:
    """The course of a curve in at most `width` characters, each the mean of its part; the lowest is the lowest bar."""
    if not values:
        return ""
    parts = min(width, len(values))
    edges = [round(part * len(values) / parts) for part in range(parts + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, spread = min(means), max(means) - min(means)
    top = len(_LEVELS) - 1
    return "".join(_LEVELS[round((mean - low) / spread * top) if spread else 0] for mean in means)


def forest(delta: float, low: float | None, high: float | None, scale: float, width: int = 21) -> str:
    """A difference as a dot and its interval as a line, about a mark for no change; `scale` is at either end."""
    middle = width // 2

    def place(number: float) -> int:
        return middle + round(max(-1.0, min(1.0, number / scale if scale else 0.0)) * middle)

    signs = ["·"] * width
    signs[middle] = "┊"
    if low is not None and high is not None:
        for position in range(place(low), place(high) + 1):
            signs[position] = "┼" if position == middle else "─"
    signs[place(delta)] = "●"
    return "".join(signs)
