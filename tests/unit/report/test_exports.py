"""What the report says of what is shipped: folders, warnings, levels and the one that was picked, gates through it."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.engine.stage import Artifact
from pipelines.report.data.collect import Report, collect
from pipelines.report.data.read import read
from pipelines.report.html.page import page
from pipelines.report.markdown.judged import gates
from pipelines.report.markdown.render import render
from pipelines.report.markdown.shipped import exports
from tests.unit.report import fixture
from tests.unit.report.test_schema import errors


def report_of(folder: Path, without: tuple[str, ...] = (), **facts: Any) -> Report:
    """The report; `facts` are of the export itself."""
    inputs = fixture.artifacts(folder)
    ship = inputs["export.ship"]
    inputs["export.ship"] = Artifact(ship.name, ship.kind, ship.path, ship.key, {**ship.metrics, **facts})
    config = fixture.config(artifacts=tuple(ref for ref in fixture.config().artifacts if ref not in without))
    return collect(config, inputs, read(config, inputs))


@pytest.fixture
def report(tmp_path: Path) -> Report:
    return report_of(tmp_path)


def test_levels_stand_beside_the_weights_with_the_picked_one_marked(report: Report) -> None:
    (entry,) = report["quantisations"]
    assert (entry["id"], entry["picked"]) == ("export.ship", "export.ship.int8")
    assert [(row["id"], row["level"], row["admissible"]) for row in entry["rows"]] == [
        ("export.ship", None, True), ("export.ship.int8", "int8", True), ("export.ship.w4a16_awq", "w4a16_awq", False),
    ]  # fmt: skip
    told = exports(report)
    assert "| **`int8`** | 163 MB | 9.700 | 612 MB | 171.5 | 0.0021 | 98.1 % | 74.5 % | 1.024 | +0.0050 | yes |" in told
    assert "Picked `int8` by the rule: the smallest that loses at most 0.02 in general." in told
    assert "| loses 0.041 in general, more than 0.02 |" in told


def test_speed_and_memory_stand_among_what_differs_between_two_runs(report: Report) -> None:
    assert report["resources"]["served"][0] == {
        "id": "export.ship.int8", "tokens_per_second": 171.5, "memory_bytes": 612_000_000,
    }  # fmt: skip
    steady = {key: item for key, item in report.items() if key != "resources"}
    assert "171.5" not in str(steady) and "612000000" not in str(steady)


def test_levels_that_nothing_chose_from_have_no_scores_and_no_pick(tmp_path: Path) -> None:
    report = report_of(tmp_path, without=("export.ship.chosen",))
    (entry,) = report["quantisations"]
    assert (entry["picked"], entry["rule"]) == (None, None)
    told = exports(report)
    assert "Picked" not in told and "admissible" not in told and "| `int8` | 163 MB | 9.700 |" in told
    assert errors(report) == []
    assert "in fewer bits" in page(report)


def test_choice_of_the_weights_as_they_are_marks_them(tmp_path: Path) -> None:
    report = report_of(tmp_path)
    inputs = fixture.artifacts(tmp_path / "again")
    chosen = inputs["export.ship.chosen"]
    facts = {**inputs["export.ship"].metrics, "picked": None, "rule": "r", "table": chosen.metrics["table"]}
    inputs["export.ship.chosen"] = Artifact(chosen.name, chosen.kind, chosen.path, chosen.key, facts)
    report = collect(fixture.config(), inputs, read(fixture.config(), inputs))
    assert report["quantisations"][0]["picked"] == "export.ship"
    assert "| **`not quantised`** |" in exports(report)


def test_report_without_levels_has_no_table_of_them(tmp_path: Path) -> None:
    report = report_of(tmp_path, without=fixture.EXPORTS[1:])
    assert report["quantisations"] == [] and "bits/weight" not in render(report) + page(report)


def test_choice_does_not_repeat_what_was_seen_of_the_picked_one(tmp_path: Path) -> None:
    inputs = fixture.artifacts(tmp_path)
    for ref in ("export.ship.int8", "export.ship.chosen"):
        told = {"checks": [{"name": "served", "saw": 1}], "warnings": [fixture.WARNING]}
        (inputs[ref].path / "verification.json").write_text(json.dumps(told))
    report = collect(fixture.config(), inputs, read(fixture.config(), inputs))
    assert "| `export.ship.int8` | `int8` | 163 MB | 1 | 1 |" in exports(report)
    assert "| `export.ship.chosen` | `int8` | 163 MB | - | - |" in exports(report)


def test_warnings_and_folders_are_told(report: Report) -> None:
    told, seen = exports(report), page(report)
    assert "| `export.ship` | `safetensors` | 538 MB | 2 | 1 |" in told
    assert "sliding-window: config.json: window unused (got 4096). Remove it" in told
    assert "sliding-window: config.json: window unused (got 4096). Remove it" in seen


@pytest.mark.parametrize(
    ("adapter", "said"),
    [
        ({"shipped": True, "why": []}, "the adapter is shipped too, in adapter/."),
        ({"shipped": False, "why": ["DoRA", "a head"]}, "the adapter is not shipped by itself: DoRA; a head."),
    ],
)
def test_adapter_is_said_to_be_shipped_or_why_not(tmp_path: Path, adapter: dict[str, Any], said: str) -> None:
    report = report_of(tmp_path, adapter=adapter)
    assert said in exports(report) and said in page(report)


def test_export_without_an_adapter_says_nothing_of_it(tmp_path: Path) -> None:
    report = report_of(tmp_path, adapter=None)
    assert "the adapter is" not in exports(report)


def test_gate_through_an_export_is_marked(tmp_path: Path) -> None:
    inputs = fixture.artifacts(tmp_path)
    verdict = fixture.verdict()
    judged = [gate | {"suite": "test.ship"} for gate in verdict["gates"][:1]] + verdict["gates"][1:]
    gate = inputs["gate"]
    inputs["gate"] = Artifact(gate.name, gate.kind, gate.path, gate.key, {**verdict, "gates": judged})
    scores = fixture.config().scores
    config = fixture.config(scores=scores | {"test.ship": scores["test"]}, through={"test.ship": "export.ship"})
    report = collect(config, inputs, read(config, inputs))
    assert [one["through"] for one in report["gates"]] == ["export.ship", None, None, None]
    assert report["gates"][0]["unit"] == "share" and errors(report) == []
    said = "Suite `test.ship` was measured on `export.ship` and on the base as vLLM serves them."
    assert said in gates(report)
    assert "measured on export.ship and on the base as vLLM serves them" in page(report)
