"""Scores of the candidate that got worse and that no gate asks about: on them a report must not be silent."""

from collections.abc import Iterator, Mapping
from typing import Any

_DISTANCES = ("kl", "agreement")
"""Metrics that measure how far a model is from the base, and so are never better than the base's own."""


def unwatched(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of the suites that gates judge, or of all without gates: the scores whose whole interval is a loss."""
    judged = dict.fromkeys(gate["suite"] for gate in report["gates"])
    return [one for suite in judged or report["suites"] for one in _losses(report, suite)]


def _losses(report: Mapping[str, Any], suite: str) -> Iterator[dict[str, Any]]:
    gates = [gate for gate in report["gates"] if gate["suite"] == suite]
    watched = {name for gate in gates for name in gate["scores"] or [gate["name"]]}
    found = report["suites"].get(suite, {"rows": [], "estimates": {}})
    for row in found["rows"]:
        seen = found["estimates"].get(row["name"], {}).get(report["candidate"], {})
        if row["name"] in watched or row["name"].rpartition("/")[2] in _DISTANCES or seen.get("delta") is None:
            continue
        if seen["low"] > 0 if row["lower_is_better"] else seen["high"] < 0:
            shown = {key: row[key] for key in ("name", "unit", "lower_is_better")}
            yield shown | {key: seen[key] for key in ("delta", "low", "high")}
