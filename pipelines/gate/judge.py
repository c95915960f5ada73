"""One row of the verdict: its numbers, what its rule says of them, and the sentence."""

from typing import Any

from pipelines.gate.evidence import Evidence, Refused, finite, is_divergence
from pipelines.gate.over import over
from pipelines.gate.rows import Measured, Row
from pipelines.gate.rules import Verdict, at_least, drift, gain, improve, no_regression
from pipelines.gate.says import says, seeds_say, tokenizers_say
from pipelines.gate.sight import needed
from pipelines.gate.units import unit
from pipelines.stats.scores import Scores
from pipelines.stats.seeds import OverSeeds

_MANY = 10_000_000
"""More documents than this are no advice where a value happens to lie at its threshold."""


def judged(row: Row, measured: Measured, seen: Evidence | Refused, p_holm: float | None) -> dict[str, Any]:
    """The entry of verdict.json for one row. `p_holm` is None where the rule has no p."""
    gate = row.gate
    told: dict[str, Any] = {
        "name": row.name,
        "suite": gate.suite,
        "rule": gate.rule,
        "base": _value(measured.base, row),
        "candidate": _value(measured.candidate, row),
        **dict.fromkeys(("delta", "low", "high", "p")),
        "n": _count(measured.candidate, row),
        "threshold": gate.threshold,
        "alpha": gate.alpha,
        **dict.fromkeys(("method", "p_holm", "mde", "needed", "clusters")),
        "scores": list(row.scores) if gate.mean else None,
        "over_seeds": None,
    }
    if isinstance(seen, Refused):
        return told | {"verdict": seen.verdict, "says": f"{seen.why}."}
    lower = bool(measured.candidate.scores[row.scores[0]]["lower_is_better"])
    verdict, effect = _ruled(row, seen, lower, p_holm)
    documents = None if effect is None else needed(seen.n, seen.mde, effect)
    if documents is not None and documents > _MANY and effect != row.gate.threshold:
        documents = None
    written = unit(row.metric, seen.fraction)
    seeds = over(row, measured)
    sentence = says(row, seen, verdict, written, lower, documents) + seeds_say(seeds, written)
    numbers = {key: value for key, value in seen._asdict().items() if key != "fraction"}
    spread = seeds._asdict() if isinstance(seeds, OverSeeds) else None
    told |= numbers | {"p_holm": p_holm, "needed": documents, "over_seeds": spread}
    return told | {"verdict": verdict, "says": f"{sentence}{_tokenizers(row, measured)}."}


def _ruled(row: Row, seen: Evidence, lower: bool, p_holm: float | None) -> tuple[Verdict, float | None]:
    """The verdict, and the effect that the documents must be able to see for one; None where they saw enough.

    A margin about no difference is a question to the suite, whatever came out. The other rules ask on which side of a
    threshold the true value is: documents that could tell have seen enough.
    """
    gate, threshold = row.gate, row.gate.threshold
    if gate.rule == "at_least":
        own = gain(seen.candidate, seen.low, seen.high, lower)
        return _open(at_least(own, -threshold if lower else threshold), seen.candidate - threshold)
    assert seen.delta is not None
    if gate.rule == "drift":
        verdict = drift(seen.low, seen.high, threshold)
        return _open(verdict, seen.delta - threshold) if is_divergence(row.metric) else (verdict, threshold)
    turned = gain(seen.delta, seen.low, seen.high, lower)
    if gate.rule == "improve":
        return _open(improve(turned, threshold), turned.value - threshold)
    assert p_holm is not None
    return no_regression(turned, threshold, p_holm, gate.alpha), threshold


def _open(verdict: Verdict, distance: float) -> tuple[Verdict, float | None]:
    return verdict, abs(distance) if verdict == Verdict.INCONCLUSIVE else None


def _value(scores: Scores | None, row: Row) -> float | None:
    """The score, or the mean of the scores, of one side; None where one is missing or no number."""
    values = [scores.scores[name]["value"] for name in row.scores if name in scores.scores] if scores else []
    if len(values) < len(row.scores) or not all(finite(value) for value in values):
        return None
    return float(sum(values) / len(values))


def _count(scores: Scores, row: Row) -> int:
    return sum(scores.scores[name]["n"] for name in row.scores if name in scores.scores)


def _tokenizers(row: Row, measured: Measured) -> str:
    """A tokenizer of its own forbids no comparison, but a reader must know of it."""
    if measured.base is None:
        return ""
    for name in row.scores:
        task = name.partition("/")[0]
        sides = [
            str(scores.contract.get(task, {}).get("tokenizer", "")) for scores in (measured.base, measured.candidate)
        ]
        if sides[0] != sides[1]:
            return tokenizers_say(*sides)
    return ""
