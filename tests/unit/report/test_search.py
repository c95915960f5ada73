"""Searches in the report: the winner, what another suite says of its gain, the front, the trials."""

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.engine.stage import Artifact
from pipelines.report import run as room
from pipelines.report.markdown.searched import BEST
from pipelines.report.pareto import draw
from pipelines.report.run import run
from tests.unit.report import fixture

TRIALS = 14


def trial(at: int) -> dict[str, Any]:
    """Trials that gain and lose more the further they go, but for the last, which is broken."""
    if at == TRIALS - 1:
        return {"params": {"method.lambda": 9.9}, "scores": {}, "objective": None, "drops": {}} | {
            "admissible": False,
            "why": "tickets/exact_match: is no finite number",
            "seconds": 1.0,
        }
    match, bits = 0.02 + 0.04 * at, 1.006 + 0.004 * at
    return {
        "params": {"method.lambda": at / 10},
        "scores": {"tickets/exact_match": match, "pydoc/bits_per_byte": bits},
        "objective": match,
        "drops": {"general": bits - 1.006},
        "admissible": bits - 1.006 <= 0.0441,
        "why": "",
        "seconds": 3.1 * at,
    }


def search(**changes: Any) -> dict[str, Any]:
    merge = {"method": "task_arithmetic", "tensors": 272, "changed": 210, "models": [], "notes": []}
    told = {
        "by": "tpe",
        "suite": "dev",
        "objective": {"maximize": "tickets/exact_match"},
        "subject_to": {"general": 0.0441},
        "trials": [trial(at) for at in range(TRIALS)],
        "best": 11,
        "winner": {"method.lambda": 1.1},
        "pareto": [12, 11, 5],
        "base": {"scores": fixture.scores("base")["scores"]},
        "search_notes": ["The grid has 99 points."],
    }
    return merge | told | changes


def reported(folder: Path, metrics: dict[str, Any], candidate: str = "best") -> tuple[str, dict[str, Any], Path]:
    """The page, the data and the folder of a report on a recipe whose candidate is a searched merge."""
    inputs = fixture.artifacts(folder / "in")
    inputs["merge.best"] = Artifact("merge.best", "model", folder, "d" * 64, metrics)
    inputs["select.best"] = replace(inputs["select.best"], metrics={**inputs["select.best"].metrics, "picked": "x"})
    artifacts = [*fixture.config().artifacts, "merge.best"]
    (out := folder / "out").mkdir()
    run(fixture.config(artifacts=artifacts, candidate=candidate), inputs, out)
    return (out / "report.md").read_text(), json.loads((out / "report.json").read_text()), out


def test_search_is_compared_with_the_suite_that_it_never_saw(tmp_path):
    page, report, _ = reported(tmp_path, search())
    assert [(gain["suite"], round(gain["gain"], 3), gain["n"]) for gain in report["searches"][0]["gains"]] == [
        ("dev", 0.43, 100),
        ("test", 0.35, 100),
    ]
    assert "the best of 14 trials (`tpe`), 12 of them admissible, by the rule " in page
    assert "`maximize tickets/exact_match, general: max_drop 0.0441`. Winner: `method.lambda` 1.1" in page
    assert "| `tickets/exact_match` | `dev` (searched on) | 100 | 3.0 % | 46.0 % | +43.0 pp |" in page
    assert "The search overfitted by 8.0 pp: its gain on `dev`, where it is the best of 14 trials, less" in page
    assert "The grid has 99 points." in page


def test_search_that_another_suite_confirms_shows_no_sign_of_overfitting(tmp_path):
    page, _, _ = reported(tmp_path, search(best=5, winner={"method.lambda": 0.5}))
    assert "No sign that the search overfitted: the gain on `test`, which it never saw, is no smaller" in page


def test_suite_whose_documents_were_searched_on_confirms_nothing(tmp_path):
    inputs = fixture.artifacts(tmp_path / "in")
    inputs["merge.best"] = Artifact("merge.best", "model", tmp_path, "d" * 64, search())
    lines = (inputs["evaluate.base@dev"].path / "samples" / "tickets.jsonl").read_text().splitlines()[:40]
    (inputs["evaluate.base@test"].path / "samples" / "tickets.jsonl").write_text("\n".join(lines) + "\n")
    (out := tmp_path / "out").mkdir()
    run(fixture.config(artifacts=["base", "merge.best"]), inputs, out)
    page = (out / "report.md").read_text()
    assert "`test` says nothing of overfitting: 40 of its 100 documents were searched on." in page
    assert "never saw" not in page


def test_search_whose_winner_no_other_suite_measured_says_so(tmp_path):
    inputs = fixture.artifacts(tmp_path / "in")
    inputs["merge.lone"] = Artifact("merge.lone", "model", tmp_path, "d" * 64, search())
    (out := tmp_path / "out").mkdir()
    run(fixture.config(artifacts=["base", "merge.lone"]), inputs, out)
    assert (
        "No other suite measured the winner: as the best of 14 trials, its gain on `dev` is flattered"
        in (out / "report.md").read_text()
    )


def test_winner_that_was_selected_is_measured_under_the_name_of_the_selection(tmp_path):
    inputs = fixture.artifacts(tmp_path / "in")
    inputs["merge.lone"] = Artifact("merge.lone", "model", tmp_path, "d" * 64, search())
    picked = {**inputs["select.best"].metrics, "picked": "merge.lone"}
    inputs["select.best"] = replace(inputs["select.best"], metrics=picked)
    (out := tmp_path / "out").mkdir()
    run(fixture.config(artifacts=["base", "merge.lone", "select.best"]), inputs, out)
    gains = json.loads((out / "report.json").read_text())["searches"][0]["gains"]
    assert [gain["suite"] for gain in gains] == ["dev", "test"]


def test_best_trials_are_shown_and_the_others_folded(tmp_path):
    page, _, _ = reported(tmp_path, search())
    section = page[page.index("### Search") : page.index("### Selection")]
    shown, folded = section.split("<details><summary>4 other trials</summary>")
    table = shown[shown.index("| trial |") :]
    assert len([line for line in table.splitlines() if line.startswith("|")]) == BEST + 2
    assert table.splitlines()[2] == "| **12** | 1.1 | 46.0 % | +0.0440 | yes |"
    assert "tickets/exact\\_match: is no finite number |" in folded


def test_front_is_a_table_and_a_picture_beside_the_report(tmp_path):
    page, report, out = reported(tmp_path, search())
    assert "as a picture in `pareto-best.svg` beside this report" in page
    assert report["searches"][0]["picture"] == "pareto-best.svg"
    root = ET.fromstring((out / "pareto-best.svg").read_text())
    texts = {text.text for text in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"tickets/exact_match", "largest loss against the base", "winner", "Pareto front", "base"} <= texts


def test_picture_of_the_same_search_has_the_same_bytes_and_no_date():
    first, again = draw(search()), draw(search())
    assert first == again
    assert "<dc:date>" not in first and "Matplotlib v" not in first


def test_search_without_a_front_draws_nothing(tmp_path):
    page, report, out = reported(tmp_path, search(pareto=[]))
    assert sorted(path.name for path in out.iterdir()) == ["report.json", "report.md", "summary.md"]
    assert "Pareto" not in page and report["searches"][0]["picture"] == ""


def test_report_without_matplotlib_keeps_the_table(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "find_spec", lambda name: None)
    page, _, out = reported(tmp_path, search())
    assert "its picture needs matplotlib" in page and "| on the front |" in page
    assert not list(out.glob("*.svg"))


def test_merge_of_a_search_is_among_the_merges_without_its_trials(tmp_path):
    page, report, _ = reported(tmp_path, search())
    merge = next(entry for entry in report["merges"] if entry["id"] == "merge.best")
    assert "trials" not in merge["facts"] and merge["facts"]["tensors"] == 272
    assert "seconds" not in json.dumps(report["searches"])
    assert "| `merge.best` | task\\_arithmetic |" in page or "`merge.best`" in page


@pytest.mark.parametrize("objective", [{"minimize": "pydoc/bits_per_byte"}])
def test_gain_of_a_score_that_is_better_lower_is_positive(tmp_path, objective):
    trials = [trial(at) | {"objective": trial(at)["scores"].get("pydoc/bits_per_byte")} for at in range(TRIALS)]
    page, report, _ = reported(tmp_path, search(objective=objective, trials=trials, best=2))
    base = fixture.scores("base")["scores"]["pydoc/bits_per_byte"]["value"]
    assert report["searches"][0]["gains"][0]["gain"] == pytest.approx(base - 1.014)
    assert "minimize pydoc/bits_per_byte" in page
