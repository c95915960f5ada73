"""How the numbers of a metric are written: their scale, their digits and their unit."""

from typing import NamedTuple


class Unit(NamedTuple):
    """How a metric is written: `scale` times it, with `digits` after the dot; `level` and `change` name the unit."""

    scale: float
    digits: int
    level: str
    change: str

    def of(self, value: float) -> str:
        return f"{self.number(value)}{self.level}"

    def by(self, value: float) -> str:
        return f"{self.number(abs(value))}{self.change}"

    def signed(self, value: float) -> str:
        return f"{'+' if value > 0 else ''}{self.number(value)}{self.change}"

    def number(self, value: float) -> str:
        return f"{round(self.scale * value, self.digits) + 0.0:.{self.digits}f}"


PERCENT = Unit(100.0, 1, " %", " points")
_PLAIN = Unit(1.0, 4, "", "")
_UNITS = {
    "bits_per_byte": Unit(1.0, 4, " bits per byte", " bits per byte"),
    "kl": Unit(1.0, 4, " nats per token", " nats per token"),
    "agreement": PERCENT,
}
_NO_SHARES = frozenset(
    ("bits_per_byte", "kl", "perplexity", "word_perplexity", "byte_perplexity", "brier_score", "bleu", "chrf", "ter")
)
"""Metrics that are known, by their name, to be no share of the documents. Each has a unit of its own."""

_SHARES = frozenset(("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match", "agreement"))
"""Metrics that lm-eval and Burnish count in right answers or tokens: never above 1."""


def unit(metric: str, fraction: bool) -> Unit:
    """Percent for anything between 0 and 1, else the metric's own unit where it has a known one."""
    return _UNITS.get(metric) or (PERCENT if fraction else _PLAIN)


def is_share(metric: str) -> bool:
    """Whether a metric that was not measured yet passes for a share of the documents: unless it is known not to be."""
    return metric not in _NO_SHARES


def reaches(metric: str, threshold: float) -> bool:
    """Whether a metric can differ by, or be, so much: a share of 2 is 2 points written as a share of 1."""
    return threshold <= 1 or metric not in _SHARES


def alike(one: str, other: str) -> bool:
    """Whether two metrics have one unit, by all that their names say."""
    return one == other or (is_share(one) and is_share(other))
