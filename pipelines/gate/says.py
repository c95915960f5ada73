"""What a gate says to a reviewer: one plain sentence, with numbers and their units."""

import math

from pipelines.gate.evidence import Evidence, is_divergence
from pipelines.gate.rows import Row
from pipelines.gate.rules import Verdict
from pipelines.gate.sight import cannot_see, cannot_tell
from pipelines.gate.units import PERCENT, Unit
from pipelines.stats.seeds import OverSeeds

_OUTCOMES = {
    "improve": {
        Verdict.PASS: ("that is a gain", "the gain is at least the {limit} asked for"),
        Verdict.FAIL: ("a gain is ruled out", "a gain of {limit} is ruled out"),
        Verdict.INCONCLUSIVE: ("a gain is not certain", "a gain of at least {limit} is not certain"),
    },
    "no_regression": {
        Verdict.PASS: ("a loss is ruled out", "a loss of more than {limit} is ruled out"),
        Verdict.FAIL: ("that is a loss", "the loss is more than the {limit} accepted"),
        Verdict.INCONCLUSIVE: ("a loss is not ruled out", "a loss of more than {limit} is not ruled out"),
    },
    "drift": {
        Verdict.PASS: ("a drift is ruled out", "the drift is within the {limit} allowed"),
        Verdict.FAIL: ("that is a drift", "the drift is beyond the {limit} allowed"),
        Verdict.INCONCLUSIVE: ("a drift is not ruled out", "a drift beyond {limit} is not ruled out"),
    },
}
"""Rule to what is said without and with a threshold."""
_LEVELS = {
    Verdict.PASS: ("at least the {value} asked for", "at least as good as the {value} asked for"),
    Verdict.FAIL: ("less than the {value} asked for", "worse than the {value} asked for"),
    Verdict.INCONCLUSIVE: ("not certain to be at least the {value} asked for", "not certain to be as good as {value}"),
}
"""at_least: what is said of a value that is better higher, and of one that is better lower."""


def says(row: Row, seen: Evidence, verdict: Verdict, unit: Unit, lower_is_better: bool, needed: int | None) -> str:
    """The sentence, without its full stop, for a row that could be judged."""
    gate = row.gate
    interval = f"{100 * (1 - gate.alpha):g} % interval {unit.number(seen.low)} to {unit.number(seen.high)}"
    head = f"{row.name} {_moved(row, seen, unit)} ({interval}, {_documents(seen)}): "
    if gate.rule == "at_least":
        told = "it is " + _LEVELS[verdict][lower_is_better].format(value=unit.of(gate.threshold))
    else:
        told = _OUTCOMES[gate.rule][verdict][bool(gate.threshold)].format(limit=unit.by(gate.threshold))
    blind = _blind(row, seen, unit, needed) if verdict == Verdict.INCONCLUSIVE else ""
    return f"{head}{told}{blind}"


def _moved(row: Row, seen: Evidence, unit: Unit) -> str:
    if row.gate.rule == "at_least" or (row.gate.rule == "drift" and is_divergence(row.metric)):
        return f"is {unit.of(seen.candidate)}"
    assert seen.base is not None and seen.delta is not None
    if seen.delta == 0:
        return f"stayed at {unit.of(seen.base)}"
    percent = unit == PERCENT
    base = unit.of(seen.base) if percent else unit.number(seen.base)
    change = unit.by(seen.delta) if percent else unit.number(abs(seen.delta))
    return f"{'rose' if seen.delta > 0 else 'fell'} from {base} to {unit.of(seen.candidate)}, by {change}"


def _documents(seen: Evidence) -> str:
    clusters = "" if seen.clusters is None else f" in {seen.clusters:,} clusters"
    return f"{seen.n:,} documents{clusters}"


def _blind(row: Row, seen: Evidence, unit: Unit, needed: int | None) -> str:
    """For a gate that cannot say: what the suite can see at all, or how many documents would do."""
    margin = row.gate.rule == "no_regression" or (row.gate.rule == "drift" and not is_divergence(row.metric))
    if needed is None:
        return f"; with so many documents only changes of {unit.by(seen.mde)} and more are seen reliably"
    where = "" if seen.clusters is None else f", in {math.ceil(needed * seen.clusters / seen.n):,} clusters"
    return f"; {cannot_see(row.gate.rule, needed) if margin else cannot_tell(needed)}{where}"


def seeds_say(over: OverSeeds | str | None, unit: Unit) -> str:
    """What the training's seed changes, to be said after the sentence; nothing where nobody asked."""
    if over is None:
        return ""
    if isinstance(over, str):
        return f"; what a seed changes cannot be told: {over}"
    span = f"{unit.number(over.low)} to {unit.number(over.high)}"
    told = f"over {over.seeds} training seeds the difference to the base is {unit.signed(over.delta)} ({span})"
    return f"; {told}, which is about the recipe and not about these weights"


def tokenizers_say(base: str, candidate: str) -> str:
    return f"; the tokenizers differ ({base[:12]} and {candidate[:12]})"
