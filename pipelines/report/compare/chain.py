"""A chain of generations: the table of what each could do, and the transfer and forgetting that follow from it.

Task i is what generation i brought: the target scores that no generation before it had. R[t][i] is its score at
generation t, None where it was not measured there or not under the conditions of generation i.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from pipelines.report.compare.conditions import CANDIDATE, base_key, differences, value_of
from pipelines.report.data.collect import Report
from pipelines.report.data.forgetting import GENERAL, TARGET
from pipelines.report.data.measures import BASE
from pipelines.stats.forgetting import accuracy, average_forgetting, backward_transfer, forward_transfer, general_delta


class Score(NamedTuple):
    """A score of a suite, and what its values mean."""

    suite: str
    name: str
    unit: str
    lower_is_better: bool


def chain(names: Sequence[str], reports: Sequence[Report]) -> dict[str, Any]:
    """By unit and direction, which have no common mean, a table and its measures; and what was not measured."""
    brought = _brought(reports)
    kinds = dict.fromkeys(score[2:] for scores in brought for score in scores)
    own_base = [names[t] for t, report in enumerate(reports) if base_key(report) != base_key(reports[0])]
    return {
        "tables": [_table(reports, brought, unit, lower) for unit, lower in kinds],
        "general": list(_general(reports)),
        "other_base": own_base,
        "missing": list(_missing(names, reports, brought)),
    }


def _brought(reports: Sequence[Report]) -> list[list[Score]]:
    """The target scores that each generation was the first to have."""
    known: set[tuple[str, str]] = set()
    brought = []
    for report in reports:
        new = [score for score in _of_group(report, TARGET) if score[:2] not in known]
        known |= {score[:2] for score in new}
        brought.append(new)
    return brought


def _of_group(report: Report, group: str) -> list[Score]:
    """The candidate's scores of a group in the suites that gates judge, else in all."""
    judged = {gate["suite"] for gate in report["gates"]} or set(report["suites"])
    return [
        Score(title, row["name"], row["unit"], row["lower_is_better"])
        for title, suite in report["suites"].items()
        for row in suite["rows"]
        if title in judged and row["group"] == group and row["values"].get(report["candidate"]) is not None
    ]


def _table(reports: Sequence[Report], brought: Sequence[list[Score]], unit: str, lower: bool) -> dict[str, Any]:
    """The scores of one unit and direction. For the measures, scores of which less is better change their sign."""
    tasks = [[score for score in scores if score[2:] == (unit, lower)] for scores in brought]
    table = [[_mean(reports, t, i, tasks[i], CANDIDATE) for i in range(len(tasks))] for t in range(len(reports))]
    base = [_base_value(reports, i, tasks[i]) for i in range(len(tasks))]
    sign = -1.0 if lower else 1.0
    turned = [[None if value is None else sign * value for value in row] for row in table]
    turned_base = [None if value is None else sign * value for value in base]
    last = accuracy(turned)
    return {
        "unit": unit,
        "lower_is_better": lower,
        "tasks": [[f"{score.suite}: {score.name}" for score in scores] for scores in tasks],
        "base": base,
        "rows": table,
        "accuracy": None if last is None else sign * last,
        "backward_transfer": backward_transfer(turned),
        "forward_transfer": forward_transfer(turned, turned_base),
        "average_forgetting": average_forgetting(turned),
    }


def _mean(reports: Sequence[Report], t: int, i: int, scores: Sequence[Score], role: str) -> float | None:
    """The mean of task i's scores at generation t; None unless all are there, under generation i's conditions."""
    values = [_value(reports, t, i, score, role) for score in scores]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _value(reports: Sequence[Report], t: int, i: int, score: Score, role: str) -> float | None:
    value = value_of(reports[t], score.suite, score.name, role)
    if value is None or differences((reports[i], reports[t]), score.suite, score.name, role):
        return None
    return value


def _base_value(reports: Sequence[Report], i: int, scores: Sequence[Score]) -> float | None:
    """The first generation's base on task i, as generation i measured it if that has the same base."""
    t = i if base_key(reports[i]) == base_key(reports[0]) else 0
    return _mean(reports, t, i, scores, BASE)


def _general(reports: Sequence[Report]) -> Iterator[dict[str, Any]]:
    """By unit and direction the general ability delta of every generation against the first generation's base."""
    scores = _of_group(reports[0], GENERAL)
    for unit, lower in dict.fromkeys(score[2:] for score in scores):
        mine = [score for score in scores if score[2:] == (unit, lower)]
        base = [value_of(reports[0], score.suite, score.name, BASE) for score in mine]
        rows = [[_value(reports, t, 0, score, CANDIDATE) for score in mine] for t in range(len(reports))]
        yield {
            "unit": unit,
            "lower_is_better": lower,
            "scores": [f"{score.suite}: {score.name}" for score in mine],
            "deltas": [general_delta(base, row) for row in rows],
            "measured": [sum(value is not None for value in row) for row in rows],
        }


def _missing(names: Sequence[str], reports: Sequence[Report], brought: Sequence[list[Score]]) -> Iterator[str]:
    """A line for every score of the table that is not there, with the reason."""
    for i, scores in enumerate(brought):
        if not scores:
            yield f"{names[i]} brought no target score that was not there before: it has no column."
        for score in scores:
            for t, report in enumerate(reports):
                if value_of(report, score.suite, score.name, CANDIDATE) is None:
                    yield f"{names[t]} did not measure {score.name} (suite {score.suite}) of {names[i]}."
                elif why := differences((reports[i], report), score.suite, score.name, CANDIDATE):
                    yield f"{names[t]} measured {score.name} (suite {score.suite}) otherwise than {names[i]}: {why}."
