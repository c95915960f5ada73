"""What the suite of each gate can see, told before anything is run."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pipelines.engine.plan import Step
from pipelines.engine.store import Store
from pipelines.evaluate.config import EvaluateConfig, Suite, score_groups
from pipelines.gate.config import Gate, GateConfig
from pipelines.gate.sight import cannot_see, needed
from pipelines.gate.units import PERCENT, Unit, is_share, unit
from pipelines.recipe.sizes import Size, size
from pipelines.recipe.spreads import Known, Spread, of_verdict, score_of, spread
from pipelines.stats.power import LEAST


class Sight(NamedTuple):
    """What n documents can see of what a gate asks; None is not known. `needed`: None too where n documents do.

    `spread` is the standard deviation of one document's difference (of its value for at_least and drift of kl), `mde`
    the effect that is detected with a power of 0.8; both in the metric's unit.
    """

    name: str
    suite: str
    rule: str
    threshold: float
    alpha: float
    n: int | None
    n_from: str
    spread: float | None
    spread_from: str
    mde: float | None
    needed: int | None
    says: str


def sights(steps: Sequence[Step], store: Store) -> list[Sight]:
    """One for every row that the verdict of a planned recipe will have; none where nothing is judged."""
    by_id = {step.node.id: step for step in steps}
    gate = by_id.get("gate")
    if gate is None or not isinstance(gate.node.config, GateConfig):
        return []
    judged, record = gate.node.config, gate.record or gate.before
    verdict = record.metrics if record else {}
    around = {suite: _around(judged, suite, verdict, by_id, store) for suite in judged.candidate}
    named = [(one, *row) for one in judged.gates for row in _rows(one, around[one.suite].suite)]
    return [_sight(one, name, scores, around[one.suite]) for one, name, scores in named]


class _Around(NamedTuple):
    """A suite, the steps that it is made from, and what is known of its scores."""

    suite: Suite
    steps: Mapping[str, Step]
    known: Known


def _around(
    judged: GateConfig, suite: str, verdict: Mapping[str, Any], steps: Mapping[str, Step], store: Store
) -> _Around:
    base, candidate = judged.base.get(suite), steps[str(judged.candidate[suite])]
    assert isinstance(candidate.node.config, EvaluateConfig)
    known = Known(verdict, steps[str(base)] if base else None, candidate, store)
    return _Around(candidate.node.config.suite, steps, known)


def _rows(gate: Gate, suite: Suite) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The rows of a gate by their names, with the scores behind each."""
    if gate.metric is not None:
        yield gate.metric, (gate.metric,)
        return
    names = tuple(name for name, group in score_groups(suite).items() if group == gate.group)
    if gate.mean:
        yield f"{gate.group} (mean of {len(names)})", names
    else:
        yield from ((name, (name,)) for name in names)


def _sight(gate: Gate, name: str, scores: tuple[str, ...], around: _Around) -> Sight:
    metric = scores[0].partition("/")[2]
    alone = gate.rule == "at_least" or (gate.rule == "drift" and metric == "kl")
    sizes = [_size(score, around) for score in scores]
    whole = of_verdict(gate, name, around.known.verdict)
    spreads = [whole] if whole else [spread(gate, score, alone, around.known) for score in scores]
    there, far = _joined(sizes), spreads[0] if len(spreads) == 1 else _mean(spreads)
    if not whole and any(_clustered(score, around.suite) for score in scores):
        far = far._replace(source=f"{far.source}; clusters are not counted, with them it is more")
    mde = _detectable(gate.alpha, sizes, spreads)
    short = None if alone or not gate.threshold else _short(gate, there, far, mde)
    value = score_of(around.known.base, scores[0]).get("value")
    written = unit(metric, is_share(metric) and (value is None or 0 <= value <= 1))
    says = _says(gate, name, there, far, mde, short, alone, written)
    return Sight(
        name, gate.suite, gate.rule, gate.threshold, gate.alpha, *there, far.spread, far.source, mde, short, says
    )


def _clustered(score: str, suite: Suite) -> bool:
    task = suite.tasks.get(score.partition("/")[0])
    return task is not None and task.cluster_by is not None


def _size(score: str, around: _Around) -> Size:
    for step in (around.known.candidate, around.known.base):
        if found := score_of(step, score):
            return Size(int(found["n"]), "measured before")
    return size(around.suite, score.partition("/")[0], around.steps)


def _joined(sizes: list[Size]) -> Size:
    """All documents of a row; unknown where those of one score are."""
    counts = [one.n for one in sizes if one.n is not None]
    lacking = next((one for one in sizes if one.n is None), None)
    return lacking or Size(sum(counts), sizes[0].source)


def _mean(spreads: list[Spread]) -> Spread:
    """The documents of several scores have no common spread, but their spreads have a source."""
    return Spread(None, next((one for one in spreads if one.spread is None), spreads[0]).source)


def _detectable(alpha: float, sizes: list[Size], spreads: list[Spread]) -> float | None:
    """Of a score, or of the mean of several, all equally heavy; unknown where anything is."""
    counts = [one.n for one in sizes if one.n]
    if len(counts) < len(sizes):
        return None
    if len(spreads) == 1:
        return spreads[0].sees(sum(counts), alpha)
    parts = [far.sees(n, alpha) for far, n in zip(spreads, counts, strict=True)]
    known = [part for part in parts if part is not None]
    return math.hypot(*known) / len(known) if len(known) == len(parts) else None


def _short(gate: Gate, there: Size, far: Spread, mde: float | None) -> int | None:
    """How many documents would see the threshold, where these do not or their number is not known."""
    if mde is not None and mde <= gate.threshold:
        return None
    if mde is not None and there.n is not None and far.spread is None:
        return needed(there.n, mde, gate.threshold)
    return far.takes(gate.threshold, gate.alpha)


def _says(
    gate: Gate, name: str, there: Size, far: Spread, mde: float | None, short: int | None, alone: bool, unit: Unit
) -> str:
    """One line for the plan."""
    head = f"gate {name} ({gate.suite}) {_asked(gate, unit)}: "
    count = (
        f"the number of documents is {there.source}"
        if there.n is None
        else f"{there.n:,} document{'s' * (there.n != 1)}"
    )
    if there.n is not None and there.n < LEAST:
        return f"{head}{count}: fewer than {LEAST} say nothing"
    if far.spread is None and mde is None:
        return f"{head}{count}, and what they can see is {far.source}"
    if mde is None:
        return f"{head}{count}" + (f"; n = {short:,} needed ({far.source})" if short else "")
    seen = f"tell values {unit.by(mde)} away from that" if alone else f"see changes of {unit.by(mde)} and more"
    blind = "" if short is None else f"; {cannot_see(gate.rule, short)}"
    return f"{head}{count} {seen} ({far.source}){blind}"


def _asked(gate: Gate, unit: Unit) -> str:
    if gate.rule == "at_least":
        return f"{'at least' if unit == PERCENT else 'at least as good as'} {unit.of(gate.threshold)}"
    words = {"improve": "improve by", "no_regression": "lose at most", "drift": "drift at most"}[gate.rule]
    return f"{words} {unit.by(gate.threshold)}"
