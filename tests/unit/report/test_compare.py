"""Runs side by side: differences only where conditions agree, with intervals where samples are at hand."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import UserError
from pipelines.report.compare.compare import NO_SAMPLES, Run, compare
from pipelines.report.compare.compare_page import page
from pipelines.report.compare.compared import compared
from pipelines.stats.estimate import estimate
from pipelines.stats.scores import Pairs, pair, read_scores
from tests.unit.report import fixture
from tests.unit.report.reports import gate, report_of

MATCH = ("test", "tickets/exact_match")


def changed(report: dict[str, Any], value: float, name: str = "tickets/exact_match") -> dict[str, Any]:
    """The report with another score of the candidate."""
    report = copy.deepcopy(report)
    (row,) = (row for row in report["suites"]["test"]["rows"] if row["name"] == name)
    row["values"]["best"] = value
    return report


def row(comparison: dict[str, Any], name: str = "tickets/exact_match", role: str = "candidate") -> dict[str, Any]:
    found = [row for row in comparison["scores"] if (row["suite"], row["name"], row["role"]) == ("test", name, role)]
    assert len(found) == 1
    return dict(found[0])


def with_scores(folder: Path, report: dict[str, Any]) -> Run:
    """A run whose scores lie in `folder`, as fixture.py wrote them."""
    refs = {"base": "base", "candidate": "best"}
    scores = {("test", role): read_scores(folder / f"evaluate.{model}@test") for role, model in refs.items()}
    return Run(folder.name, report, scores)


def test_compare_of_a_run_with_itself_finds_no_difference(tmp_path: Path) -> None:
    report = report_of(tmp_path / "one")
    one = with_scores(tmp_path / "one", report)
    found = compare([one, one])
    assert found["settings"] == found["data"] == [] and found["chain"] is None
    changes = [row["changes"][1] for row in found["scores"] if row["suite"] == "test"]
    assert changes and all(change["delta"] == 0.0 for change in changes)
    assert all(change["low"] <= 0.0 <= change["high"] for change in changes if change["low"] is not None)


def test_compare_with_the_samples_gives_the_paired_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = report_of(tmp_path / "one")
    monkeypatch.setitem(fixture.MODELS, "best", (46, 30, 1.019, 0.021))
    later = report_of(tmp_path / "two")
    runs = [with_scores(tmp_path / "one", report), with_scores(tmp_path / "two", later)]
    change = row(compare(runs))["changes"][1]
    pairs = pair(*(run.scores["test", "candidate"] for run in runs), "tickets/exact_match")
    assert isinstance(pairs, Pairs)
    seen = estimate(pairs, 0.05)
    assert (change["delta"], change["low"], change["high"]) == (seen.delta, seen.low, seen.high)
    assert change["delta"] == pytest.approx(0.08) and change["low"] > 0


def test_compare_without_the_samples_gives_the_difference_and_says_why_no_interval(tmp_path: Path) -> None:
    report = report_of(tmp_path)
    found = compare([Run("a", report), Run("b", changed(report, 0.5))])
    change = row(found)["changes"][1]
    assert change == {"delta": pytest.approx(0.12), "low": None, "high": None, "why": NO_SAMPLES}
    text = page(found)
    assert "| 38.0 % | 50.0 % | +12.0 pp |" in text
    assert "`b`: no interval, the samples are not at hand" in text


@pytest.mark.parametrize("samples", [True, False])
def test_compare_never_subtracts_scores_of_other_conditions(tmp_path: Path, samples: bool) -> None:
    report = report_of(tmp_path / "one")
    later = changed(report, 0.9)
    later["suites"]["test"]["contract"]["same"]["tickets.documents"] = "f" * 64
    make = (lambda report: with_scores(tmp_path / "one", report)) if samples else (lambda report: Run("run", report))
    found = compare([make(report), make(later)])
    told = {"differs": f"documents differs ({'t' * 12} and {'f' * 12})"}
    assert [row(found, role=role)["changes"][1] for role in ("base", "candidate")] == [told, told]
    assert "delta" in row(found, "facts/acc")["changes"][1]
    text = page(found)
    assert "| 38.0 % | 90.0 % | not comparable |" in text
    assert "not comparable with the run before, documents differs (tttttttttttt and ffffffffffff)" in text


def test_compare_takes_the_conditions_of_the_very_model(tmp_path: Path) -> None:
    report = report_of(tmp_path)
    later = copy.deepcopy(report)
    del later["suites"]["test"]["contract"]["same"]["tickets.dtype"]
    later["suites"]["test"]["contract"]["differs"]["tickets.dtype"] = {
        "base": "float32", "best": "bfloat16", "tuned": "float32",
    }  # fmt: skip
    found = compare([Run("a", report), Run("b", later)])
    assert "delta" in row(found, role="base")["changes"][1]
    assert row(found)["changes"][1] == {"differs": "dtype differs (float32 and bfloat16)"}


def test_compare_ignores_what_is_told_but_forbids_nothing(tmp_path: Path) -> None:
    report = report_of(tmp_path)
    later = copy.deepcopy(report)
    del later["suites"]["test"]["contract"]["same"]["tickets.tokenizer"]
    later["suites"]["test"]["contract"]["told"]["tickets.tokenizer"] = {"base": "a", "best": "b", "tuned": "b"}
    assert "delta" in row(compare([Run("a", report), Run("b", later)]))["changes"][1]


def test_compare_of_drift_from_two_bases_is_no_difference(tmp_path: Path) -> None:
    report = report_of(tmp_path)
    later = copy.deepcopy(report)
    (base,) = (item for item in later["artifacts"] if item["id"] == "base")
    base["key"] = "9" * 64
    found = compare([Run("a", report), Run("b", later)])
    assert row(found, "chats/kl")["changes"][1] == {"differs": "the base differs"}
    assert "delta" in row(found, "facts/acc")["changes"][1]
    assert not [row for row in found["scores"] if (row["group"], row["role"]) == ("drift", "base")]


def test_compare_of_a_score_that_one_run_lacks_has_no_change(tmp_path: Path) -> None:
    report = report_of(tmp_path)
    later = copy.deepcopy(report)
    later["suites"]["test"]["rows"] = [row for row in later["suites"]["test"]["rows"] if row["name"] != MATCH[1]]
    found = row(compare([Run("a", report), Run("b", later)]))
    assert (found["values"], found["changes"]) == ([pytest.approx(0.38), None], [None, None])


def test_compare_tells_verdicts_gates_settings_data_and_resources(tmp_path: Path) -> None:
    report = report_of(tmp_path)
    later = copy.deepcopy(report) | {"verdict": {"verdict": "FAIL", "blocks": True, "candidate": "best"}}
    later["gates"] = [gate("FAIL", delta=0.01, low=-0.02, high=0.04), gate(rule="no_regression", name="facts/acc")]
    later["training"][0]["settings"]["method"]["rank"] = 64
    later["data"][0]["facts"]["rows"]["kept"] = 1400
    later["resources"]["rows"][0]["peak_bytes"] = 99_000_000_000
    later["resources"]["cost"] = None
    found = compare([Run("a", report), Run("b", later)])
    assert [run["verdict"] for run in found["runs"]] == ["INCONCLUSIVE", "FAIL"]
    assert found["settings"] == [{"id": "train.tuned", "key": "method.rank", "runs": [16, 64]}]
    assert found["data"] == [{"id": "data.tickets", "key": "rows.kept", "runs": [1500, 1400]}]
    assert found["resources"][1]["peak_bytes"] == 99_000_000_000
    by_gate = {(one["name"], one["rule"]): [bool(judged) for judged in one["runs"]] for one in found["gates"]}
    assert by_gate["tickets/exact_match", "improve"] == [True, True]
    assert by_gate["facts/acc", "no_regression"] == [False, True]
    text = page(found)
    assert "| **PASS** +35.0 pp [+26.0, +44.0], asked: improve by 5.0 pp | **FAIL** +1.0 pp [-2.0, +4.0]," in text
    assert "| `train.tuned` | `method.rank` | 16 | 64 |" in text
    assert "99.00 GB" in text and " USD | - |" in text


def test_compare_writes_a_value_of_its_own_without_a_sign(tmp_path: Path) -> None:
    own = gate(rule="at_least", threshold=0.2, delta=None, low=0.29, high=0.48)
    text = page(compare([Run("a", report_of(tmp_path, [own])), Run("b", report_of(tmp_path / "b", [own]))]))
    assert "**PASS** 38.0 % [29.0 %, 48.0 %], asked: reach 20.0 %" in text


def test_compare_tells_two_gates_of_one_score_and_rule_apart(tmp_path: Path) -> None:
    gates = [gate(threshold=0.05), gate("FAIL", threshold=0.4)]
    found = compare([Run("a", report_of(tmp_path, gates)), Run("b", report_of(tmp_path / "b", gates))])
    assert [[judged["verdict"] for judged in one["runs"]] for one in found["gates"]] == [["PASS"] * 2, ["FAIL"] * 2]


def test_compare_page_of_hostile_names_holds_no_html(tmp_path: Path) -> None:
    report = report_of(tmp_path)
    report["training"][0]["settings"][fixture.NASTY] = fixture.NASTY
    text = page(compare([Run(fixture.NASTY, report_of(tmp_path / "b")), Run("b", report)]))
    assert "<script>" not in text and "\x1b" not in text and "@octocat" not in text


def test_compared_reads_reports_of_this_format_alone(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_text(json.dumps(report_of(tmp_path / "in") | {"schema_version": 1}))
    with pytest.raises(UserError, match=r"is no report in format 3 \(got schema_version 1\)"):
        compared([("a", file)], False)
    file.write_text("{")
    with pytest.raises(UserError, match="is no JSON"):
        compared([("a", file)], False)


def test_compared_finds_the_scores_in_the_store_beside_the_report(tmp_path: Path) -> None:
    report = report_of(tmp_path / "in")
    keys = {item["id"]: item["key"] for item in report["artifacts"]}
    folder = tmp_path / "artifacts" / "report-1"
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps(report))
    scores = {"test": {model: {"input": keys[f"evaluate.{model}@test"]} for model in ("base", "best")}}
    record = json.loads((tmp_path / "in" / "base" / "artifact.json").read_text())
    record["identity"] = {"config": {"scores": scores}}
    (folder / "artifact.json").write_text(json.dumps(record))
    for model in ("base", "best"):
        place = folder.parent / f"evaluate-{keys[f'evaluate.{model}@test'][:12]}"
        if not place.is_symlink():
            place.symlink_to(tmp_path / "in" / f"evaluate.{model}@test")
    # The fixture's keys share their beginning, so that base and candidate are one folder here: enough for an interval.
    found = compared([("a", folder / "report.json"), ("b", folder / "report.json")], False)
    assert row(found)["changes"][1]["method"]
