"""Reports of several runs side by side: what each measured, what changed from one to the next, and what made it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from pipelines.report.compare.chain import chain
from pipelines.report.compare.conditions import CANDIDATE, base_key, differences, row_of, value_of
from pipelines.report.data.collect import SCHEMA_VERSION, Report
from pipelines.report.data.estimates import ALPHA
from pipelines.report.data.forgetting import DRIFT
from pipelines.report.data.measures import BASE, flatten
from pipelines.stats.estimate import estimate, scarce
from pipelines.stats.scores import Scores, pair

Comparison = dict[str, Any]

NO_SAMPLES = "the samples are not at hand"
_SECTIONS = ("bases", "training", "merges", "selections")
_COUNTED = ("rows", "splits", "files", "licence", "truncated")
"""Facts of a dataset that say which rows it has."""


class Run(NamedTuple):
    """A report under the name that the user gave it, and by suite and role the scores that it was made from.

    A role is `base` or `candidate`. Where the scores are not at hand, two runs' numbers are compared without interval.
    """

    name: str
    report: Report
    scores: Mapping[tuple[str, str], Scores] = {}


def compare(runs: Sequence[Run], generations: bool = False) -> Comparison:
    """Everything that the page says. With `generations`, the runs are a chain, the oldest first."""
    reports = [run.report for run in runs]
    return {
        "schema_version": SCHEMA_VERSION,
        "runs": [_head(run) for run in runs],
        "gates": _gates(reports),
        "scores": list(_scores(runs)),
        "resources": [_resources(report) for report in reports],
        "settings": _differing(dict(_settings(report)) for report in reports),
        "data": _differing(dict(_rows_of_data(report)) for report in reports),
        "chain": chain([run.name for run in runs], reports) if generations else None,
    }


def _head(run: Run) -> dict[str, Any]:
    report = run.report
    verdict = report["verdict"]
    return {
        "name": run.name,
        "recipe": report["recipe"],
        "candidate": report["candidate"],
        "base": base_key(report),
        "verdict": verdict and verdict["verdict"],
        "blocks": bool(verdict and verdict["blocks"]),
        "held_back": report["held_back"],
    }


def _gates(reports: Sequence[Report]) -> list[dict[str, Any]]:
    """A row a gate, by suite, score and rule, and the how manieth of these; None for a run that has no such gate."""
    by_run = [_numbered(report["gates"]) for report in reports]
    keys = dict.fromkeys(key for gates in by_run for key in gates)
    return [
        {"suite": key[0], "name": key[1], "rule": key[2], "runs": [gates.get(key) for gates in by_run]} for key in keys
    ]


def _numbered(gates: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str, str, int], Mapping[str, Any]]:
    seen: Counter[tuple[str, str, str]] = Counter()
    numbered = {}
    for gate in gates:
        key = gate["suite"], gate["name"], gate["rule"]
        numbered[*key, seen[key]] = gate
        seen[key] += 1
    return numbered


def _scores(runs: Sequence[Run]) -> Iterator[dict[str, Any]]:
    """A row a score and role, with each run's value and, from the second run on, the change since the one before."""
    keys = dict.fromkeys(
        (suite, row["name"]) for run in runs for suite, found in run.report["suites"].items() for row in found["rows"]
    )
    for suite, name in keys:
        rows = [row_of(run.report, suite, name) for run in runs]
        known = next(row for row in rows if row)
        # How far the base is from itself says nothing.
        for role in (CANDIDATE,) if known["group"] == DRIFT else (BASE, CANDIDATE):
            values = [value_of(run.report, suite, name, role) for run in runs]
            if any(value is not None for value in values):
                yield {
                    "suite": suite,
                    "name": name,
                    "role": role,
                    **{key: known[key] for key in ("group", "unit", "lower_is_better")},
                    "values": values,
                    "changes": [None, *(_change(*two, suite, name, role) for two in pairwise(runs))],
                }


def _change(before: Run, after: Run, suite: str, name: str, role: str) -> dict[str, Any] | None:
    """The difference, with its interval where there are samples; what differs instead, where it would mean nothing.

    None where one of the two was not measured.
    """
    old, new = (value_of(run.report, suite, name, role) for run in (before, after))
    if old is None or new is None:
        return None
    if differs := differences((before.report, after.report), suite, name, role) or _other_base(
        before, after, suite, name
    ):
        return {"differs": differs}
    sides = [run.scores.get((suite, role)) for run in (before, after)]
    if sides[0] is None or sides[1] is None:
        return {"delta": new - old, "low": None, "high": None, "why": NO_SAMPLES}
    pairs = pair(sides[0], sides[1], name)
    if isinstance(pairs, str):
        return {"differs": pairs}
    if why := scarce(pairs):
        return {"delta": new - old, "low": None, "high": None, "why": why}
    seen = estimate(pairs, ALPHA)
    return {"delta": seen.delta, "low": seen.low, "high": seen.high, "p": seen.p, "n": seen.n, "method": seen.method}


def _other_base(before: Run, after: Run, suite: str, name: str) -> str:
    """Drift is a distance to the base: distances to two bases have no difference."""
    row, keys = row_of(after.report, suite, name), [base_key(run.report) for run in (before, after)]
    return "the base differs" if row and row["group"] == DRIFT and keys[0] != keys[1] else ""


def _resources(report: Report) -> dict[str, Any]:
    told = report["resources"]
    return {
        "total_seconds": told["total_seconds"],
        "peak_bytes": max((row["peak_bytes"] for row in told["rows"]), default=0),
        "bytes": sum(row["bytes"] for row in told["rows"]),
        "cost": told["cost"],
    }


def _settings(report: Report) -> Iterator[tuple[tuple[str, str], Any]]:
    for section in _SECTIONS:
        for entry in report[section]:
            for key, item in flatten(entry["settings"]):
                yield (entry["id"], key), item


def _rows_of_data(report: Report) -> Iterator[tuple[tuple[str, str], Any]]:
    for entry in report["data"]:
        counted = {key: entry["facts"][key] for key in _COUNTED if key in entry["facts"]}
        for key, item in [*flatten(entry["settings"]), *flatten(counted)]:
            yield (entry["id"], key), item


def _differing(by_run: Iterable[Mapping[tuple[str, str], Any]]) -> list[dict[str, Any]]:
    """What is not the same in all runs, with every run's value; None where a run has none."""
    runs = list(by_run)
    rows = [(key, [run.get(key) for run in runs]) for key in dict.fromkeys(key for run in runs for key in run)]
    return [
        {"id": ref, "key": key, "runs": values}
        for (ref, key), values in rows
        if any(value != values[0] for value in values)
    ]
