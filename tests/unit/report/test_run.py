"""From artifacts to report.json and report.md."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from pipelines.engine.stage import Artifact
from pipelines.report.config import FORMATS, ReportConfig
from pipelines.report.markdown.render import COMMENT_LIMIT, GIVES_WAY, SECTIONS, marker, render
from pipelines.report.run import run
from tests.timeless import timeless
from tests.unit.report import fixture

GOLDEN = Path(__file__).parents[2] / "golden" / "report.md"


def made(tmp_path: Path, config: ReportConfig, inputs: dict[str, Artifact]) -> tuple[str, dict[str, Any]]:
    """The page and the data of a report."""
    out = tmp_path / "out"
    out.mkdir(parents=True)
    run(config, inputs, out)
    assert sorted(path.name for path in out.iterdir()) == ["report.json", "report.md", "summary.md"]
    return (out / "report.md").read_text(encoding="utf-8"), json.loads(
        (out / "report.json").read_text(encoding="utf-8")
    )


def with_metrics(artifact: Artifact, **changes: Any) -> Artifact:
    return replace(artifact, metrics={**artifact.metrics, **changes})


def test_report_of_a_whole_recipe_is_the_golden_page(tmp_path: Path) -> None:
    """After a change that is meant: BURNISH_UPDATE_GOLDEN=1 pytest tests/unit/report/test_run.py"""
    page, _ = made(tmp_path, fixture.config(), fixture.artifacts(tmp_path / "in"))
    if os.environ.get("BURNISH_UPDATE_GOLDEN"):
        GOLDEN.write_text(page, encoding="utf-8")
    assert page == GOLDEN.read_text(encoding="utf-8")


def test_report_made_elsewhere_and_at_another_speed_differs_in_its_resources_alone(tmp_path: Path) -> None:
    config = fixture.config(formats=FORMATS)
    folders = [tmp_path / "one" / "out", tmp_path / "two" / "out"]
    for folder in folders:
        folder.mkdir(parents=True)
    run(config, fixture.artifacts(tmp_path / "one" / "in"), folders[0])
    inputs = fixture.artifacts(tmp_path / "two" / "in")
    inputs["train.tuned"] = with_metrics(inputs["train.tuned"], tokens_per_second=9.9, resumed_from=None)
    inputs["merge.kept"] = with_metrics(inputs["merge.kept"], seconds=99.0, peak_bytes=7)
    for ref, seconds in (("train.tuned", 7777.0), ("evaluate.base@test", 0.1)):
        record = inputs[ref].path / "artifact.json"
        slower = json.loads(record.read_text()) | {"seconds": seconds, "cpu_seconds": 1.0, "peak_bytes": 9 << 30}
        record.write_text(json.dumps(slower))
    run(config, inputs, folders[1])
    names = sorted(path.name for path in folders[0].iterdir())
    assert [name for name in names if timeless(folders[0] / name) != timeless(folders[1] / name)] == []
    timed = {name for name in names if (folders[0] / name).read_bytes() != (folders[1] / name).read_bytes()}
    assert timed == {"report.json", "report.md", "summary.md", "report.html"}
    assert not [name for name in names if str(tmp_path) in (folders[0] / name).read_text(encoding="utf-8")]


def test_report_in_every_format_has_the_files_of_each(tmp_path: Path) -> None:
    told = run(fixture.config(formats=FORMATS), fixture.artifacts(tmp_path / "in"), tmp_path)
    files = {"report.md", "summary.md", "report.html", "junit.xml", "annotations.txt", "badge.svg", "model_card.md"}
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {"report.json", *files}
    assert told["characters"].keys() == files and all(told["characters"].values())


def test_report_of_the_same_dict_renders_without_the_artifacts(tmp_path: Path) -> None:
    page, report = made(tmp_path, fixture.config(), fixture.artifacts(tmp_path / "in"))
    assert report["schema_version"] == 3
    assert render(report) == page


def test_report_of_hostile_answers_holds_no_html_but_its_own(tmp_path: Path) -> None:
    page, _ = made(tmp_path, fixture.config(), fixture.artifacts(tmp_path / "in"))
    tokens = [
        inner
        for token in MarkdownIt("gfm-like", {"linkify": False}).parse(page)
        for inner in (token, *(token.children or []))
    ]
    blocks = [token.content.strip() for token in tokens if token.type == "html_block"]
    assert not [token for token in tokens if token.type in ("html_inline", "link_open", "image")]
    assert all(block == "</details>" or block.startswith(("<!-- burnish:", "<details><summary>")) for block in blocks)
    assert blocks.count("</details>") == sum(block.startswith("<details>") for block in blocks)


def test_report_of_an_export_that_was_held_back_says_so(tmp_path: Path) -> None:
    inputs = fixture.artifacts(tmp_path / "in", held_back=True)
    inputs["gate"] = with_metrics(inputs["gate"], verdict="FAIL", blocks=True)
    page, report = made(tmp_path, fixture.config(), inputs)
    assert report["held_back"] == list(fixture.EXPORTS)
    assert "**\u274c FAIL** `best`" in page and "Held back: `export.ship`, `export.ship.int8`, " in page
    assert "- `export.ship`: **held back**" in page


def test_report_without_gates_compares_and_says_that_nothing_was_judged(tmp_path: Path) -> None:
    page, _ = made(tmp_path, fixture.config(verdict=None), fixture.artifacts(tmp_path / "in"))
    assert "**No verdict**" in page and "### Gates" not in page
    assert "No gate judged anything" in page
    assert "+35.0 pp" in page and "right -&gt; wrong" in page


@pytest.mark.parametrize("kept", [["merge.kept"], ["data.tickets"], ["export.ship"], ["base", "train.tuned"]])
def test_report_of_a_recipe_with_a_single_section_shows_it(tmp_path: Path, kept: list[str]) -> None:
    config = ReportConfig.model_validate(
        {
            "recipe": "small",
            "command": "burnish run small.yaml",
            "candidate": "",
            "artifacts": kept,
            "formats": ["markdown"],
        }
    )
    inputs = {ref: item for ref, item in fixture.artifacts(tmp_path / "in").items() if ref in kept}
    page, report = made(tmp_path, config, inputs)
    assert page.startswith("<!-- burnish:report:small -->\n")
    assert all(f"`{ref}`" in page for ref in kept)
    assert "No model was measured." in page and "burnish run small.yaml" in page
    assert report["suites"] == {}


def test_report_of_adapters_and_schedules_shows_them(tmp_path: Path) -> None:
    members = [
        {"name": "base:one", "weight": [0.25, 0.5], "delta_norm_ratio": 0.01},
        {"name": "two", "weight": {"*.mlp.*": 0.5}, "delta_norm_ratio": 0.02},
    ]
    told = {"method": "cat", "tensors": 20, "changed": 4, "models": members, "notes": ["one is merged 2 times"]}
    inputs = {
        "base:one": Artifact("base:one", "adapter", tmp_path, "a" * 64, {"source": "adapter one", "notes": []}),
        "merge.joined": Artifact("merge.joined", "adapter", tmp_path, "b" * 64, told),
    }
    fields = {"recipe": "small", "command": "burnish run small.yaml", "candidate": "", "artifacts": list(inputs)}
    fields["formats"] = ["markdown"]
    page, _ = made(tmp_path, ReportConfig.model_validate(fields), inputs)
    assert "`base:one` weight 0.2500, 0.5000 over the layers, size 0.0100; `two` weight by pattern, size" in page
    assert "- `merge.joined`: one is merged 2 times" in page
    assert "- `base:one`: source adapter one" in page


def test_report_of_scores_under_other_conditions_names_the_difference(tmp_path: Path) -> None:
    inputs = fixture.artifacts(tmp_path / "in")
    scores = inputs["evaluate.best@test"].metrics
    other = {**scores["contract"], "tickets": scores["contract"]["tickets"] | {"dtype": "bfloat16"}}
    inputs["evaluate.best@test"] = with_metrics(inputs["evaluate.best@test"], contract=other)
    page, _ = made(tmp_path, fixture.config(), inputs)
    assert "| differs | `tickets.dtype` | `base` float32; `best` bfloat16; `tuned` float32 |" in page
    assert "was not measured under the same conditions" in page


def test_report_of_a_gate_over_a_group_takes_the_unit_of_its_scores(tmp_path: Path) -> None:
    inputs = fixture.artifacts(tmp_path / "in")
    gate = {**inputs["gate"].metrics["gates"][0], "name": "target (mean of 1)", "scores": ["tickets/exact_match"]}
    inputs["gate"] = with_metrics(inputs["gate"], gates=[gate])
    _, report = made(tmp_path, fixture.config(), inputs)
    assert report["gates"][0]["unit"] == "share"


def test_report_of_numbers_that_json_lacks_shows_that_they_are_absent(tmp_path: Path) -> None:
    inputs = fixture.artifacts(tmp_path / "in")
    gates = [
        {**gate, "p_holm": float("nan"), "mde": float("inf"), "low": None} for gate in inputs["gate"].metrics["gates"]
    ]
    inputs["gate"] = with_metrics(inputs["gate"], gates=gates)
    page, report = made(tmp_path, fixture.config(), inputs)
    assert report["gates"][0]["p_holm"] is None
    assert "| +35.0 pp | - | - | - | 100 (25 clusters) |" in page


def test_report_of_a_gate_that_could_not_compare_says_so(tmp_path: Path) -> None:
    inputs = fixture.artifacts(tmp_path / "in")
    unknown = dict.fromkeys(("base", "delta", "low", "high", "p", "p_holm", "method", "mde"))
    gate = {**inputs["gate"].metrics["gates"][0], **unknown, "verdict": "FAIL", "says": "dtype differs."}
    inputs["gate"] = with_metrics(inputs["gate"], verdict="FAIL", blocks=True, gates=[gate])
    page, _ = made(tmp_path, fixture.config(), inputs)
    assert "; 1 of 1 gates failed." in page and "1 inconclusive" not in page
    assert "- **FAIL** dtype differs." in page


def test_report_of_gates_with_intervals_of_two_levels_names_none(tmp_path: Path) -> None:
    inputs = fixture.artifacts(tmp_path / "in")
    gates = inputs["gate"].metrics["gates"]
    inputs["gate"] = with_metrics(inputs["gate"], gates=[gates[0], {**gates[1], "alpha": 0.1}])
    page, _ = made(tmp_path, fixture.config(), inputs)
    assert "| difference | CI | p (Holm) |" in page


def test_report_of_samples_with_line_separators_inside_is_read_whole(tmp_path: Path) -> None:
    inputs = fixture.artifacts(tmp_path / "in")
    for ref in ("evaluate.base@test", "evaluate.best@test"):
        path = inputs[ref].path / "samples" / "tickets.jsonl"
        path.write_text(path.read_text(encoding="utf-8").replace("Ticket", "Tic\u2028ket"), encoding="utf-8")
    _, report = made(tmp_path, fixture.config(), inputs)
    assert report["flips"][0]["n"] == 100


def test_report_that_is_too_long_gives_up_details_first_and_says_so(tmp_path: Path) -> None:
    _, report = made(tmp_path, fixture.config(), fixture.artifacts(tmp_path / "in"))
    full = len(render(report))
    page = render(report, full - 1)
    assert "Shortened to fit: lineage. All of it is in report.json." in page
    assert "10 of 38" in page and "3 of 38" in render(report, 15_000)
    for limit in range(1500, full, 500):
        short = render(report, limit)
        assert len(short) <= limit
        assert short.startswith(marker("support-tickets")) and "INCONCLUSIVE" in short and "### Reproduce" in short


def test_report_of_very_many_measurements_fits_a_comment(tmp_path: Path) -> None:
    inputs = fixture.artifacts(tmp_path / "in")
    rows = fixture.samples("base", "test")["tickets"][:1]
    for model in ("base", "tuned", "best"):
        item = inputs[f"evaluate.{model}@test"]
        score = item.metrics["scores"]["tickets/exact_match"]
        many = {f"task_{number}/exact_match": {**score, "n": 1, "value": 1.0} for number in range(400)}
        fixture.write_scores(item.path, dict(item.metrics), {f"task_{number}": rows for number in range(400)})
        contract = {**item.metrics["contract"], **{name.partition("/")[0]: {} for name in many}}
        inputs[item.name] = with_metrics(item, scores={**item.metrics["scores"], **many}, contract=contract)
    page, _ = made(tmp_path, fixture.config(), inputs)
    assert len(page) <= COMMENT_LIMIT
    assert "### Gates" in page and "Shortened to fit" in page


def test_sections_that_give_way_do_so_once_for_each_of_their_forms() -> None:
    kept = {"verdict", "reproduce"}
    assert {name: GIVES_WAY.count(name) for name in SECTIONS if name not in kept} == {
        name: len(forms) for name, forms in SECTIONS.items() if name not in kept
    }


def test_marker_of_any_recipe_name_is_one_comment() -> None:
    assert marker("a --> b\n") == "<!-- burnish:report:a_--__b_ -->"
