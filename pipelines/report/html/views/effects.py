"""Differences to the base: every score of a suite under a model, with its interval and what the gates ask of it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pipelines.report.data.collect import Report
from pipelines.report.data.measures import BASE
from pipelines.report.html.figures.spec import Direction, Effect, Forest, Mark
from pipelines.report.numbers import ABSENT, difference, interval

LOWER = "\u2193"
Gate = Mapping[str, Any]


class Change(NamedTuple):
    """A model's difference to the base in one score; all numbers are in the score's unit."""

    delta: float | None
    low: float | None
    high: float | None
    direction: Direction


def change(suite: Mapping[str, Any], row: Mapping[str, Any], model: str) -> Change:
    """What the paired samples say; where they cannot be paired, the difference of the values alone."""
    found = row.get("estimates", suite["estimates"].get(row["name"], {})).get(model, {})
    if "delta" in found:
        numbers = (found["delta"], found["low"], found["high"])
        return Change(*numbers, direction(*numbers[1:], lower_is_better=row["lower_is_better"]))
    base, value = row["values"].get(BASE), row["values"].get(model)
    delta = None if base is None or value is None or model == BASE else value - base
    return Change(delta, None, None, "unclear")


def direction(low: float | None, high: float | None, lower_is_better: bool) -> Direction:
    """Which way a score went, as far as an interval without zero says."""
    if low is None or high is None or low <= 0 <= high:
        return "unclear"
    return "better" if (low > 0) != lower_is_better else "worse"


def marks(gates: Sequence[Gate], suite: str, row: Mapping[str, Any]) -> tuple[Mark, ...]:
    """What the gates on a score, or on its group, ask of its difference to the base."""
    good = -1 if row["lower_is_better"] else 1
    names = row.get("names", [row["name"]])
    found: dict[Mark, None] = {}
    for gate in gates:
        if (gate["suite"], gate["scores"]) != (suite, names) or gate["threshold"] is None:
            continue
        size = gate["threshold"]
        if gate["rule"] == "improve":
            found[Mark("asked", good * size, good)] = None
        elif gate["rule"] == "no_regression":
            found[Mark("allowed", -good * size, good)] = None
        elif gate["rule"] == "at_least" and gate["base"] is not None:
            found[Mark("asked", size - gate["base"], good)] = None
        elif gate["rule"] == "drift":
            found[Mark("allowed", size, -1)] = None
            if names[0].rpartition("/")[2] != "kl":
                found[Mark("allowed", -size, 1)] = None
    return tuple(found)


def in_order(report: Report) -> list[str]:
    """The suites, those that measured the candidate first."""
    return sorted(report["suites"], key=lambda title: report["candidate"] not in report["suites"][title]["models"])


def candidate_forests(report: Report, title: str) -> list[Forest]:
    """The candidate's differences in a suite, a picture a unit; none where the suite does not compare it."""
    suite, model = report["suites"][title], report["candidate"]
    if model == BASE or not {BASE, model} <= set(suite["models"]):
        return []
    units: dict[str, list[Effect]] = {}
    for row in [*suite["rows"], *judged_means(report, title)]:
        seen = _effect(row["name"] + (f" {LOWER}" if row["lower_is_better"] else ""), suite, row, model)
        if seen:
            seen = seen._replace(marks=marks(report["gates"], title, row))
            units.setdefault(row["unit"], []).append(seen)
    return [
        Forest(f"{model} less {BASE}, suite {title}, {unit}", unit, tuple(effects)) for unit, effects in units.items()
    ]


def judged_means(report: Report, title: str) -> list[dict[str, Any]]:
    """The groups of a suite whose mean a gate judges, in the form of a row of scores, by the name of the gate."""
    judged = {
        gate["name"]: gate["scores"]
        for gate in report["gates"]
        if gate["suite"] == title and gate["scores"] != [gate["name"]]
    }
    return [
        {**group, "name": name, "values": group["means"]}
        for name, scores in judged.items()
        for group in report["suites"][title]["groups"]
        if group["names"] == scores
    ]


def model_forests(report: Report, title: str) -> list[Forest]:
    """Every model's differences, a picture a score, where no candidate stands out or there are others beside it."""
    suite = report["suites"][title]
    others = [model for model in suite["models"] if model != BASE]
    if BASE not in suite["models"] or set(others) <= {report["candidate"]}:
        return []
    found = []
    for row in suite["rows"]:
        effects = [seen for model in others if (seen := _effect(model, suite, row, model))]
        if effects:
            name = row["name"] + (f" {LOWER} lower is better" if row["lower_is_better"] else "")
            asked = marks(report["gates"], title, row)
            found.append(Forest(name, row["unit"], tuple(effect._replace(marks=asked) for effect in effects)))
    return found


def _effect(label: str, suite: Mapping[str, Any], row: Mapping[str, Any], model: str) -> Effect | None:
    seen = change(suite, row, model)
    if seen.delta is None:
        return None
    bounds = interval(seen.low, seen.high, row["unit"])
    says = difference(seen.delta, row["unit"]) + ("" if bounds == ABSENT else f" {bounds}")
    return Effect(label, seen.delta, seen.low, seen.high, seen.direction, says)
