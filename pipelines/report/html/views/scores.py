"""Every score of every model, suite by suite: pictures of the differences, and the numbers in a table."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.report.data.collect import Report
from pipelines.report.data.measures import BASE
from pipelines.report.html.views.effects import candidate_forests, change, in_order, model_forests
from pipelines.report.html.views.made import fact
from pipelines.report.numbers import count, difference, distance, interval, probability, value

PICTURES = 24
"""Of one suite; more than this nobody looks at, and the table has the numbers."""


def scores(report: Report) -> dict[str, Any] | None:
    if not report["suites"]:
        return None
    return {"suites": [_suite(report, title) for title in in_order(report)], "unjudged": not report["candidate"]}


def _suite(report: Report, title: str) -> dict[str, Any]:
    suite = report["suites"][title]
    by_model = model_forests(report, title)
    return {
        "title": title,
        "models": suite["models"],
        "has_chance": any(row["chance"] is not None for row in suite["rows"]),
        "forests": candidate_forests(report, title),
        "by_model": by_model[:PICTURES],
        "left_out": max(0, len(by_model) - PICTURES),
        "rows": [_row(suite, row) for row in suite["rows"]],
        "generation": list(_generation(suite)),
        "level": f"{100 * (1 - suite['alpha']):g} %",
    }


def _row(suite: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": row["name"],
        "group": row["group"],
        "unit": row["unit"],
        "lower": row["lower_is_better"],
        "n": " / ".join(dict.fromkeys(count(n) for n in row["n"].values())),
        "chance": value(row["chance"], row["unit"]),
        "cells": [_cell(suite, row, model) for model in suite["models"]],
    }


def _generation(suite: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """How the tasks that generate did so, model by model."""
    for name, models in suite["generation"].items():
        for model, told in models.items():
            settings = ", ".join(f"{key} {fact(item)}" for key, item in told.items() if key not in ("empty", "cut"))
            counts = {key: count(told[key]) for key in ("empty", "cut")}
            yield {"name": name, "model": model, "settings": settings, **counts}


def _cell(suite: Mapping[str, Any], row: Mapping[str, Any], model: str) -> dict[str, Any]:
    """A model's value; of all but the base the difference with its interval, and how sure it is."""
    unit = row["unit"]
    seen = change(suite, row, model)
    found = suite["estimates"].get(row["name"], {}).get(model, {})
    if "delta" in found:
        told = f"p {probability(found['p'])}, MDE {distance(found['mde'], unit)}, {found['method']}"
    else:
        told = f"no interval: {found['differs']}" if found else ""
    return {
        "value": value(row["values"].get(model), unit),
        "delta": "" if model == BASE or seen.delta is None else difference(seen.delta, unit),
        "interval": "" if seen.low is None else interval(seen.low, seen.high, unit),
        "direction": seen.direction,
        "told": told,
    }
