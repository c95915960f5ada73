"""The report of the finished recipe of fixture.py as a dict, and the gates that tests lay over it."""

import json
from pathlib import Path
from typing import Any

from pipelines.report.data.collect import collect
from pipelines.report.data.read import read
from tests.unit.report import fixture


def report_of(folder: Path, gates: list[dict[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
    """As report.json has it. `gates` replace those of the verdict."""
    config, inputs = fixture.config(), fixture.artifacts(folder)
    found: dict[str, Any] = json.loads(json.dumps(collect(config, inputs, read(config, inputs))))
    return found | ({"gates": gates} if gates is not None else {}) | changes


def gate(verdict: str = "PASS", **changes: Any) -> dict[str, Any]:
    """One gate on tickets, as report.json has it."""
    first = fixture.verdict()["gates"][0] | {"unit": "share", "verdict": verdict, "says": f"It says {verdict}."}
    return first | changes
