"""From scores to what was seen for one row of the verdict, or the reason why nothing can be said."""

import math
from statistics import NormalDist
from typing import NamedTuple

from pipelines.gate.config import Gate
from pipelines.gate.rows import Measured, Row
from pipelines.gate.rules import Verdict
from pipelines.stats.estimate import Estimate, Pairs, estimate, macro, too_few
from pipelines.stats.level import Level, level
from pipelines.stats.power import LEAST, POWER
from pipelines.stats.scores import Scores, pair


class Refused(NamedTuple):
    """Why a row cannot be judged, and what follows from that."""

    verdict: Verdict
    why: str
    p: None = None


class Evidence(NamedTuple):
    """What was seen. `low` and `high` belong to `delta`, or to `candidate` where there is no `delta`.

    `mde` is what is detectable of a difference, or from a value, with a power of 0.8. `fraction`: every document
    scores between 0 and 1.
    """

    base: float | None
    candidate: float
    delta: float | None
    low: float
    high: float
    p: float | None
    n: int
    mde: float
    method: str
    clusters: int | None
    fraction: bool


def is_divergence(metric: str) -> bool:
    """Whether a metric says by itself how far a model is from the base, which then has exactly 0."""
    return metric == "kl"


def evidence(row: Row, measured: Measured) -> Evidence | Refused:
    """What was seen of a score, or of the mean of several. One that cannot be judged spoils the mean."""
    found = [_one(row.gate, name, measured) for name in row.scores]
    refused = [one for one in found if isinstance(one, Refused)]
    if refused:
        return next((one for one in refused if one.verdict == Verdict.FAIL), refused[0])
    seen = [one for one in found if isinstance(one, Evidence)]
    return seen[0] if row.name == row.scores[0] else _mean(seen, row.gate.alpha)


def _one(gate: Gate, name: str, measured: Measured) -> Evidence | Refused:
    base, candidate = measured.base, measured.candidate
    alone = gate.rule == "at_least" or (gate.rule == "drift" and is_divergence(name.partition("/")[2]))
    if why := _unusable("the candidate", candidate, name) or ("" if alone else _unusable("the base", base, name)):
        return Refused(Verdict.FAIL, f"{name} does not pass: {why}")
    against = candidate if alone or base is None else base
    pairs = pair(against, candidate, name)
    if isinstance(pairs, str):
        return Refused(Verdict.FAIL, f"{name} cannot be compared with the base and therefore does not pass: {pairs}")
    if few := _too_few(pairs, name):
        return few
    fraction = _is_fraction(pairs, candidate.scores[name]["kind"])
    if not alone:
        return Evidence(*estimate(pairs, gate.alpha), fraction)
    seen = level(pairs.candidate, pairs.weights, pairs.clusters, gate.alpha)
    before = base.scores[name]["value"] if base is not None and name in base.scores else None
    return _level(seen, gate, 0.0 if gate.rule == "drift" else before, fraction)


def _unusable(side: str, scores: Scores | None, name: str) -> str:
    """What is wrong with one side's score before any document is looked at."""
    if scores is None or name not in scores.scores:
        return f"{side} has no such score"
    score = scores.scores[name]
    if not score["n"]:
        return f"{side} was measured on no document"
    if not finite(score["value"]):
        return f"the score of {side} is no finite number ({score['value']})"
    return ""


def finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _too_few(pairs: Pairs, name: str) -> Refused | None:
    n = len(pairs.candidate)
    groups = None if pairs.clusters is None else len(set(pairs.clusters.tolist()))
    if not too_few(n, groups):
        return None
    documents = f"{n} document{'s' * (n != 1)}"
    seen = f"{documents} only" if groups is None else f"{documents} in {groups} cluster{'s' * (groups != 1)} only"
    return Refused(Verdict.INCONCLUSIVE, f"{name} was measured on {seen}: fewer than {LEAST} say nothing")


def _is_fraction(pairs: Pairs, kind: str) -> bool:
    inside = all(values.min() >= 0 and values.max() <= 1 for values in (pairs.base, pairs.candidate))
    return bool(inside and kind == "mean")


def _level(seen: Level, gate: Gate, base: float | None, fraction: bool) -> Evidence:
    delta = seen.value if gate.rule == "drift" else None
    mde = _detectable(seen.low, seen.high, gate.alpha)
    return Evidence(
        base, seen.value, delta, seen.low, seen.high, None, seen.n, mde, seen.method, seen.clusters, fraction
    )


def _detectable(low: float, high: float, alpha: float) -> float:
    """What an interval of this width can tell from its middle with a power of 0.8."""
    normal = NormalDist()
    quantile = normal.inv_cdf(1 - alpha / 2)
    return (high - low) / 2 * (quantile + normal.inv_cdf(POWER)) / quantile


def _mean(seen: list[Evidence], alpha: float) -> Evidence:
    """All scores equally heavy; for values without a base the value takes the place of the difference."""
    whole = macro([_as_estimate(one) for one in seen], alpha)
    alone = any(one.p is None for one in seen)
    bases = [one.base for one in seen if one.base is not None]
    return Evidence(
        sum(bases) / len(bases) if len(bases) == len(seen) else None,
        sum(one.candidate for one in seen) / len(seen),
        None if seen[0].delta is None else whole.delta,
        whole.low,
        whole.high,
        None if alone else whole.p,
        whole.n,
        whole.mde,
        whole.method,
        whole.clusters,
        all(one.fraction for one in seen),
    )


def _as_estimate(seen: Evidence) -> Estimate:
    base, delta = (0.0, seen.candidate) if seen.base is None or seen.delta is None else (seen.base, seen.delta)
    p = 1.0 if seen.p is None else seen.p
    return Estimate(base, seen.candidate, delta, seen.low, seen.high, p, seen.n, seen.mde, seen.method, seen.clusters)
