"""Why the numbers may be believed, and how far: conditions, costs, origin, limits."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.report.data.collect import Report
from pipelines.report.data.measures import flatten
from pipelines.report.html.views.made import fact, notes
from pipelines.report.html.views.sentences import bullets
from pipelines.report.markdown import origin
from pipelines.report.numbers import duration, size


def comparability(report: Report) -> dict[str, Any] | None:
    suites = [_conditions(title, suite) for title, suite in report["suites"].items()]
    return {"suites": suites} if suites else None


def resources(report: Report) -> dict[str, Any] | None:
    """A line for everything that took time; the bar is its share of the longest."""
    found = report["resources"]
    longest = max((row["seconds"] for row in found["rows"]), default=0)
    rows = [
        {
            "id": row["id"],
            "stage": row["stage"],
            "share": 100 * row["seconds"] / longest if longest else 0,
            "cells": [
                duration(row["seconds"]),
                duration(row["cpu_seconds"]),
                size(row["peak_bytes"]),
                size(row["bytes"]),
            ],
        }
        for row in found["rows"]
    ]
    return {"rows": rows, "total": duration(found["total_seconds"]), "cost": found["cost"]} if rows else None


def provenance(report: Report) -> dict[str, Any]:
    return {
        "recipe": report["recipe"],
        "command": report["command"],
        "bases": [{"id": entry["id"], "facts": list(_told(entry)), "notes": notes(entry)} for entry in report["bases"]],
        "artifacts": report["artifacts"],
    }


def limits(report: Report) -> dict[str, Any] | None:
    """The sentences of the Markdown report."""
    said = bullets(origin.limits(report))
    return {"says": said} if said else None


def _told(entry: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, item in flatten(entry["facts"]):
        if key != "notes" and item not in (None, [], {}):
            yield key, fact(item)


def _conditions(title: str, suite: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "title": title,
        "alone": len(suite["models"]) < 2,
        "differs": _by_model(suite["contract"]["differs"]),
        "told": _by_model(suite["contract"]["told"]),
        "same": list(_shared(suite["contract"]["same"])),
    }


def _by_model(found: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[tuple[str, Any]]]]:
    return [(key, [(model, fact(item)) for model, item in values.items()]) for key, values in found.items()]


def _shared(same: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """A line a condition; one on which all measurements agree is said once."""
    values: dict[str, dict[str, Any]] = {}
    for key, item in same.items():
        measurement, _, condition = key.partition(".")
        values.setdefault(condition, {})[measurement] = fact(item)
    for condition, found in values.items():
        if len(set(found.values())) == 1:
            yield condition, next(iter(found.values()))
        else:
            yield from ((f"{measurement}.{condition}", item) for measurement, item in found.items())
