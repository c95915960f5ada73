"""What a gate says to a reviewer: one plain sentence, with numbers and their units."""

from typing import NamedTuple

from pipelines.gate.rules import Gain, Verdict
from pipelines.stats.estimate import Estimate, documents_needed


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

    def number(self, value: float) -> str:
        return f"{self.scale * value + 0.0:.{self.digits}f}"


_PERCENT = Unit(100.0, 1, " %", " points")
_UNITS = {
    "bits_per_byte": Unit(1.0, 4, " bits per byte", " bits per byte"),
    "kl": Unit(1.0, 4, " nats per token", " nats per token"),
    "agreement": _PERCENT,
}


def unit(metric: str, fraction: bool) -> Unit:
    """Percent for anything between 0 and 1, else the metric's own unit where it has a known one."""
    return _UNITS.get(metric) or (_PERCENT if fraction else Unit(1.0, 4, "", ""))


def says(
    name: str, rule: str, threshold: float, alpha: float, seen: Estimate, gain: Gain, verdict: Verdict, unit: Unit
) -> str:
    """The sentence for a gate that could be judged."""
    span = f"{unit.number(seen.low)} to {unit.number(seen.high)}"
    interval = f"{100 * (1 - alpha):g} % interval {span}, {seen.n} documents"
    outcome = _IMPROVE[verdict] if rule == "improve" else _NO_REGRESSION[verdict]
    limit = unit.by(threshold)
    words = outcome[bool(threshold)].format(limit=limit)
    return f"{name} {_moved(seen, unit)} ({interval}): {words}{_blind(rule, threshold, seen, gain, verdict, unit)}."


_IMPROVE = {
    Verdict.PASS: ("that is a gain", "the gain is at least the {limit} asked for"),
    Verdict.FAIL: ("a gain is ruled out", "a gain of {limit} is ruled out"),
    Verdict.INCONCLUSIVE: ("a gain is not certain", "a gain of at least {limit} is not certain"),
}
_NO_REGRESSION = {
    Verdict.PASS: ("a loss is ruled out", "a loss of more than {limit} is ruled out"),
    Verdict.FAIL: ("that is a loss", "the loss is more than the {limit} accepted"),
    Verdict.INCONCLUSIVE: ("a loss is not ruled out", "a loss of more than {limit} is not ruled out"),
}


def _moved(seen: Estimate, unit: Unit) -> str:
    if seen.delta == 0:
        return f"stayed at {unit.of(seen.base)}"
    percent = unit == _PERCENT
    base = unit.of(seen.base) if percent else unit.number(seen.base)
    change = unit.by(seen.delta) if percent else unit.number(abs(seen.delta))
    return f"{'rose' if seen.delta > 0 else 'fell'} from {base} to {unit.of(seen.candidate)}, by {change}"


def _blind(rule: str, threshold: float, seen: Estimate, gain: Gain, verdict: Verdict, unit: Unit) -> str:
    """For a gate that cannot say: what the suite can see at all, and how many documents would do."""
    if verdict != Verdict.INCONCLUSIVE:
        return ""
    effect = abs(gain.value - threshold) if rule == "improve" else threshold
    needed = documents_needed(seen.n, seen.mde, effect)
    more = f"; about {needed} would do" if needed is not None and seen.n < needed < 10_000_000 else ""
    return f"; with so many documents only changes of {unit.by(seen.mde)} and more are seen reliably{more}"


def refused(name: str, reason: str) -> str:
    return f"{name} cannot be compared with the base and therefore does not pass: {reason}."


def too_few(name: str, n: int, least: int) -> str:
    return f"{name} was measured on {n} documents only: fewer than {least} say nothing."
