"""The section of scores: a table a suite, every model a column, and the candidate's difference as a picture."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pipelines.report.blocks import section, table
from pipelines.report.charts import forest
from pipelines.report.collect import Report
from pipelines.report.measures import BASE
from pipelines.report.numbers import ABSENT, count, difference, value
from pipelines.report.text import name

LOWER = "\u2193"


class _Line(NamedTuple):
    """A score with the candidate's difference to the base and the interval that a gate gave it."""

    row: Mapping[str, Any]
    delta: float | None
    low: float | None
    high: float | None


def scores(report: Report) -> str:
    """Every score of every model, suite by suite."""
    tables = [_suite(report, title) for title in report["suites"]]
    suites = report["suites"].values()
    notes = []
    if any(_compares(report, suite) for suite in suites):
        notes.append(f"Difference: {name(report['candidate'])} less base; the line is the interval of its gate.")
    if any(row["lower_is_better"] for suite in suites for row in suite["rows"]):
        notes.append(f"{LOWER} lower is better.")
    return section("Scores", *tables, " ".join(notes))


def direction(row: Mapping[str, Any]) -> str:
    """The sign behind the name of a score that is better when it is lower."""
    return f" {LOWER}" if row["lower_is_better"] else ""


def _compares(report: Report, suite: Mapping[str, Any]) -> bool:
    return report["candidate"] != BASE and {BASE, report["candidate"]} <= set(suite["models"])


def _suite(report: Report, title: str) -> str:
    suite = report["suites"][title]
    compares = _compares(report, suite)
    lines = [_line(report, title, row) for row in suite["rows"]]
    heads = [name(model) for model in suite["models"]]
    rows = [[value(line.row["values"].get(model), line.row["unit"]) for model in suite["models"]] for line in lines]
    if compares:
        heads[2:2] = ["difference", "change"]
        reach = _reach(lines)
        for cells, line in zip(rows, lines, strict=True):
            cells[2:2] = [difference(line.delta, line.row["unit"]), _picture(line, reach)]
    return table(
        [f"suite {name(title)}", "group", "n", *heads],
        [[*_names(line.row), *cells] for line, cells in zip(lines, rows, strict=True)],
        left=2,
    )


def _names(row: Mapping[str, Any]) -> list[str]:
    numbers = " / ".join(dict.fromkeys(count(n) for n in row["n"].values()))
    return [name(row["name"]) + direction(row), name(row["group"]), numbers]


def _line(report: Report, suite: str, row: Mapping[str, Any]) -> _Line:
    base, candidate = row["values"].get(BASE), row["values"].get(report["candidate"])
    if base is None or candidate is None:
        return _Line(row, None, None, None)
    delta = candidate - base
    for gate in report["gates"]:
        if (gate["suite"], gate["name"]) == (suite, row["name"]) and None not in (gate["low"], gate["high"]):
            return _Line(row, delta, gate["low"], gate["high"])
    return _Line(row, delta, None, None)


def _reach(lines: list[_Line]) -> dict[str, float]:
    """By unit the largest difference or bound: all pictures of a unit share one scale."""
    reach: dict[str, float] = {}
    for line in lines:
        sizes = [abs(number) for number in line[1:] if number is not None]
        reach[line.row["unit"]] = max([reach.get(line.row["unit"], 0.0), *sizes])
    return reach


def _picture(line: _Line, reach: Mapping[str, float]) -> str:
    if line.delta is None:
        return ABSENT
    return f"`{forest(line.delta, line.low, line.high, reach[line.row['unit']])}`"
