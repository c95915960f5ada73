"""Under which conditions a run of a report measured a score, and whether two runs did so under the same."""

from collections.abc import Mapping
from typing import Any

from pipelines.report.data.collect import Report
from pipelines.report.data.measures import BASE, TOLD

CANDIDATE = "candidate"
_DIGEST = 64


def model_of(report: Report, role: str) -> str:
    """The name that the base or the candidate has in the report's suites."""
    return BASE if role == BASE else str(report["candidate"])


def base_key(report: Report) -> str | None:
    """The key of the model that everything is compared with."""
    return next((item["key"] for item in report["artifacts"] if item["id"] == BASE), None)


def row_of(report: Report, suite: str, name: str) -> Mapping[str, Any] | None:
    rows = report["suites"][suite]["rows"] if suite in report["suites"] else ()
    return next((row for row in rows if row["name"] == name), None)


def value_of(report: Report, suite: str, name: str, role: str) -> float | None:
    """The score of the base or the candidate; None where it was not measured."""
    row = row_of(report, suite, name)
    return row["values"].get(model_of(report, role)) if row else None


def conditions(report: Report, suite: str, name: str, role: str) -> dict[str, Any]:
    """What must agree for a comparison, of one model's measurement: versions, documents, prompts, settings."""
    contract, model = report["suites"][suite]["contract"], model_of(report, role)
    start = name.rpartition("/")[0] + "."
    mine = {key: values[model] for key, values in contract["differs"].items()}
    every = contract["same"] | mine
    told = {key.removeprefix(start): item for key, item in every.items() if key.startswith(start)}
    return {key: item for key, item in told.items() if key not in TOLD}


def differences(reports: tuple[Report, Report], suite: str, name: str, role: str) -> str:
    """What of the conditions is not the same in both reports; empty where they may be compared."""
    before, after = (conditions(report, suite, name, role) for report in reports)
    keys = [key for key in before | after if before.get(key) != after.get(key)]
    return ", ".join(f"{key} differs ({_short(before.get(key))} and {_short(after.get(key))})" for key in keys)


def _short(value: Any) -> str:
    """A digest by its first digits."""
    return str(value)[:12] if isinstance(value, str) and len(value) == _DIGEST else str(value)
