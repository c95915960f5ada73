"""The advice on a merge, as the report tells it."""

import json
from pathlib import Path
from typing import Any

from pipelines.engine.stage import Artifact
from pipelines.report.numbers import ABSENT, plain
from pipelines.report.run import run
from tests.unit.report.fixture import NASTY, artifacts, config

PAIR = {"models": ["one", "two"], "cosine": 0.25, "ratio": None, "shared": 0.5, "conflict": 0.125, "overlap": 0.75}


def advice(says: str, pairs: list[dict[str, Any]]) -> dict[str, Any]:
    told = {"verdict": "soup", "rule": "same data", "says": says, "source": "arXiv 2203.05482", "reasons": []}
    return {"advice": told, "evidence": {"pairs": pairs, "models": [], "curves": []}}


def page(folder: Path, says: str, *without: str) -> tuple[str, dict[str, Any]]:
    """report.md and report.json of a recipe with advice on `kept`."""
    made = artifacts(folder / "made")
    made["advice.kept"] = Artifact("advice.kept", "advice", folder, "d" * 64, advice(says, [PAIR]))
    refs = tuple(str(ref) for ref in config().artifacts if ref not in without)
    out = folder / "out"
    out.mkdir()
    run(config(artifacts=(*refs, "advice.kept")), made, out)
    return (out / "report.md").read_text(), json.loads((out / "report.json").read_text())


def test_advice_stands_with_the_merges_and_its_evidence_in_the_data(tmp_path: Path) -> None:
    text, data = page(tmp_path, "one base and the same data")
    merges = text[text.index("### Merges") :]
    assert "- Advice on `kept`: **soup**. One base and the same data. (arXiv 2203.05482)" in merges
    assert f"| `kept` | `one` - `two` | {plain(0.25)} | {ABSENT} | {plain(0.125)} | {plain(0.75)} |" in merges
    assert data["advice"][0]["facts"]["evidence"]["pairs"] == [PAIR]
    assert [entry["id"] for entry in data["merges"]] == ["merge.kept"]


def test_advice_without_a_merge_is_told_too(tmp_path: Path) -> None:
    text, _ = page(tmp_path, "one base", "merge.kept")
    assert "### Merges\n\n- Advice on `kept`" in text


def test_advice_that_quotes_hostile_names_is_disarmed(tmp_path: Path) -> None:
    text, _ = page(tmp_path, NASTY)
    (line,) = (line for line in text.splitlines() if line.startswith("- Advice on"))
    assert "<script>" not in line and "@octocat" not in line
