"""report.json keeps to its schema, and the schema to its version."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pipelines.report.data.collect import SCHEMA_VERSION, collect
from pipelines.report.data.read import read
from tests.unit.report import fixture

SCHEMA = json.loads((Path(__file__).parents[3] / "docs" / "report.schema.json").read_text(encoding="utf-8"))
SAID_SO_FAR = {2: "9c692c239850f501", 3: "4552a9b9ff756d18"}
"""Version to the digest of what the schema then allowed: another digest is another version."""


def errors(report: dict[str, Any]) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in Draft202012Validator(SCHEMA).iter_errors(report)]


def reported(folder: Path, held_back: bool = False, **changes: Any) -> dict[str, Any]:
    config, inputs = fixture.config(**changes), fixture.artifacts(folder, held_back)
    return json.loads(json.dumps(collect(config, inputs, read(config, inputs)), allow_nan=False))


def without_words(value: Any) -> Any:
    """The schema without its descriptions, which may be told better at any time."""
    if isinstance(value, list):
        return [without_words(item) for item in value]
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if not (key == "description" and isinstance(item, str))}
        return {key: without_words(item) for key, item in kept.items()}
    return value


def test_schema_is_a_schema_of_this_version() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["properties"]["schema_version"] == {"const": SCHEMA_VERSION}


def test_schema_that_says_something_else_has_another_version() -> None:
    told = json.dumps(without_words(SCHEMA), sort_keys=True)
    assert SAID_SO_FAR[SCHEMA_VERSION] == hashlib.sha256(told.encode()).hexdigest()[:16]


@pytest.mark.parametrize("changes", [{}, {"held_back": True}, {"verdict": None}, {"cost_per_hour": None}])
def test_report_of_a_recipe_keeps_to_the_schema(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert errors(reported(tmp_path, **changes)) == []


def test_report_of_nothing_measured_keeps_to_the_schema(tmp_path: Path) -> None:
    assert errors(reported(tmp_path, scores={}, verdict=None, candidate="", artifacts=())) == []


@pytest.mark.parametrize("path", [[], ["gates", 0], ["suites", "test"], ["resources"], ["flips", 0], ["bases", 0]])
def test_report_with_more_than_the_schema_says_breaks_it(tmp_path: Path, path: list[str | int]) -> None:
    report = reported(tmp_path)
    place = report
    for step in path:
        place = place[step]  # type: ignore[index]
    place["news"] = 1
    assert errors(report)
