"""Which scores each gate is about: one, every score of a group by itself, or the mean of a group."""

import difflib
from typing import NamedTuple

from pipelines.errors import wrong
from pipelines.gate.config import Gate
from pipelines.gate.units import alike
from pipelines.stats.scores import Scores


class Measured(NamedTuple):
    """The scores of one suite: the base's where there is a base, the candidate's, and those of other seeds by model."""

    base: Scores | None
    candidate: Scores
    seeds: dict[str, Scores | str]


class Row(NamedTuple):
    """One line of the verdict: a gate, the name it goes by, and the scores behind that."""

    gate: Gate
    name: str
    scores: tuple[str, ...]

    @property
    def metric(self) -> str:
        return self.scores[0].partition("/")[2]


def rows(gates: tuple[Gate, ...], measured: dict[str, Measured]) -> list[Row]:
    """The rows of all gates. Raises UserError for a gate on something that was not measured at all."""
    return [row for place, gate in enumerate(gates) for row in _rows(f"gates[{place}]", gate, measured)]


def _rows(where: str, gate: Gate, measured: dict[str, Measured]) -> list[Row]:
    if gate.suite not in measured:
        raise wrong(f"{where}.suite", "no such suite", gate.suite, _instead(gate.suite, list(measured)))
    groups = _groups(measured[gate.suite])
    if gate.metric is not None:
        if gate.metric not in groups:
            raise wrong(f"{where}.metric", "no such score", gate.metric, _instead(gate.metric, list(groups)))
        return [Row(gate, gate.metric, (gate.metric,))]
    names = tuple(name for name, group in groups.items() if group == gate.group)
    if not names:
        known = sorted(set(groups.values()))
        raise wrong(f"{where}.group", "no score is in this group", str(gate.group), _instead(str(gate.group), known))
    if not gate.mean:
        return [Row(gate, name, (name,)) for name in names]
    _check_alike(where, names, measured[gate.suite].candidate)
    return [Row(gate, f"{gate.group} (mean of {len(names)})", names)]


def _groups(measured: Measured) -> dict[str, str]:
    """Every score of either side with its group: one that a side lacks must fail its gate, not leave it."""
    sides = [measured.candidate, *([measured.base] if measured.base else [])]
    return {name: score["group"] for side in reversed(sides) for name, score in side.scores.items()}


def _check_alike(where: str, names: tuple[str, ...], candidate: Scores) -> None:
    first, *rest = names
    for name in rest:
        known = [candidate.scores[one]["lower_is_better"] for one in (first, name) if one in candidate.scores]
        if not alike(first.partition("/")[2], name.partition("/")[2]) or len(set(known)) > 1:
            fix = "Leave mean out, or name a group of one kind"
            raise wrong(f"{where}.mean", "these scores have no common unit or direction", f"{first} and {name}", fix)


def _instead(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean {close[0]}?" if close else f"Known: {', '.join(known)}"
