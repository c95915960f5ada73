"""How far the documents of a score spread, before the gate has run: measured earlier, or else a stated guess."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

from pipelines.engine.plan import Step
from pipelines.engine.store import Store
from pipelines.gate.config import Gate
from pipelines.gate.units import is_share
from pipelines.stats.power import detectable, detectable_pairs, discordance, documents_for, pairs_for
from pipelines.stats.stored import stored


class Spread(NamedTuple):
    """Standard deviation of one document's difference, or value, in the metric's unit; and where it is from.

    `pairs`: its square is the share of documents on which only one of two models is right.
    """

    spread: float | None
    source: str
    pairs: bool = False

    def sees(self, n: int, alpha: float) -> float | None:
        """The effect that n documents detect."""
        if self.spread is None:
            return None
        return detectable_pairs(self.spread**2, n, alpha) if self.pairs else detectable(self.spread, n, alpha)

    def takes(self, effect: float, alpha: float) -> int | None:
        """How many documents detect an effect."""
        if self.spread is None:
            return None
        return pairs_for(self.spread**2, effect, alpha) if self.pairs else documents_for(self.spread, effect, alpha)


_LARGEST = 16 << 20
"""A plan reads no larger samples, in bytes, for the sake of a number."""
UNKNOWN = Spread(None, "not known before the first run")


class Known(NamedTuple):
    """What is there already: the last verdict on this recipe, and the scores of both sides of one suite."""

    verdict: Mapping[str, Any]
    base: Step | None
    candidate: Step
    store: Store


def spread(gate: Gate, name: str, alone: bool, known: Known) -> Spread:
    """What is known for a score without a verdict. `alone`: the rule goes by the candidate's own value."""
    return (_of_level(name, known) if alone else _of_pairs(name, known)) or _guess(gate, name, alone, known)


def of_verdict(gate: Gate, name: str, verdict: Mapping[str, Any]) -> Spread | None:
    """What the last verdict saw for the same row, turned back from what it could detect."""
    for row in verdict.get("gates", ()):
        same = (row["suite"], row["name"], row["rule"] == "at_least") == (gate.suite, name, gate.rule == "at_least")
        if same and row["mde"] is not None:
            return Spread(row["mde"] / detectable(1.0, row["n"], row["alpha"]), "the last verdict")
    return None


def score_of(step: Step | None, name: str) -> Mapping[str, Any]:
    """A score that was measured already; empty where it was not."""
    found: Mapping[str, Any] = step.record.metrics["scores"].get(name, {}) if step and step.record else {}
    return found


def _of_level(name: str, known: Known) -> Spread | None:
    for step, whose in ((known.candidate, "the candidate"), (known.base, "the base")):
        score = score_of(step, name)
        if score.get("stderr"):
            return Spread(score["stderr"] * math.sqrt(score["n"]), f"the scores of {whose}")
    return None


def _of_pairs(name: str, known: Known) -> Spread | None:
    """From the samples of both sides, where both were measured on the same documents."""
    sides = [step for step in (known.base, known.candidate) if step and step.record and score_of(step, name)]
    if len(sides) < 2:
        return None
    measurement, _, metric = name.partition("/")
    before, after = (_samples(known.store, step, measurement) for step in sides)
    if len(before) < 2 or [row["doc_hash"] for row in before] != [row["doc_hash"] for row in after]:
        return None
    source, values = "the scores of base and candidate", [row["scores"].get(metric) for row in (*before, *after)]
    if all(value in (0, 1) for value in values):
        changed = sum(a != b for a, b in zip(values, values[len(before) :], strict=False))
        # Jeffreys' half pair: seeing none does not mean seeing everything.
        return Spread(math.sqrt((changed + 0.5) / (len(before) + 1)), source, pairs=True)
    return Spread(_deviation(before, after, metric, score_of(sides[1], name)["kind"] == "ratio"), source)


def _samples(store: Store, step: Step, measurement: str) -> list[dict[str, Any]]:
    assert step.record is not None
    path: Path = store.folder(step.record.stage, step.record.key) / "samples" / f"{measurement}.jsonl"
    if path.stat().st_size > _LARGEST:
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def _deviation(before: list[dict[str, Any]], after: list[dict[str, Any]], metric: str, ratio: bool) -> float:
    """Of the differences; for a ratio of sums of its residuals, per mean weight (Cochran 1977, eq. 6.13)."""
    key, scale = stored(metric, before[0]["scores"])
    differences: list[float] = [
        scale * (b["scores"][key] - a["scores"][key]) for a, b in zip(before, after, strict=True)
    ]
    if not ratio:
        return stdev(differences)
    weights: list[float] = [row["weight"] for row in before]
    value = sum(differences) / sum(weights)
    return stdev(d - w * value for d, w in zip(differences, weights, strict=True)) / fmean(weights)


def _guess(gate: Gate, name: str, alone: bool, known: Known) -> Spread:
    """For shares of right answers alone: of other metrics nothing can be guessed."""
    value = score_of(known.base, name).get("value")
    if not is_share(name.partition("/")[2]) or (value is not None and not 0 <= value <= 1):
        return UNKNOWN
    if alone:
        share = min(1.0, max(0.0, gate.threshold))
        return Spread(math.sqrt(share * (1 - share)), f"guess: {100 * share:g} % right answers")
    changed = discordance(0.5 if value is None else value, gate.by)
    return Spread(math.sqrt(changed), f"guess: {100 * changed:.3g} % of the answers change", pairs=True)
