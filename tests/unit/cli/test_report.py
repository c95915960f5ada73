"""`burnish report`: the newest report in any of its forms, and runs side by side."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipelines.cli.main import main
from pipelines.cli.report import FILES
from pipelines.report.run import WRITERS
from tests.unit.cli.test_main import HEAVY, LIST_HEAVY
from tests.unit.recipe.project import make
from tests.unit.report.reports import report_of

Captured = pytest.CaptureFixture[str]
IDENTITY: dict[str, Any] = {"stage": "report", "version": 0, "packages": {}, "config": {}}
KEY = "0123456789abcdef" * 4


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BURNISH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def remember(home: Path, report: dict[str, Any], key: str = KEY) -> Path:
    """The store as it is after the recipe `toy` of recipe/project.py made a report."""
    folder = home / "artifacts" / f"report-{key[:12]}"
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps(report))
    (folder / "report.md").write_text("<!-- burnish:report:toy -->\n")
    record = {"name": "report", "stage": "report", "kind": "report", "key": key, "identity": IDENTITY,
              "inputs": {}, "metrics": {}, "files": {}}  # fmt: skip
    (folder / "artifact.json").write_text(json.dumps(record))
    (home / "latest").mkdir(exist_ok=True)
    known = {"report": {"stage": "report", "key": key, "identity": IDENTITY}}
    (home / "latest" / "toy.json").write_text(json.dumps(known))
    return folder


def run(home: Path, name: str, report: Path | None) -> None:
    """A folder under runs/, with a link to its report if it has one."""
    folder = home / "runs" / name
    folder.mkdir(parents=True)
    if report:
        (folder / "report").symlink_to(report)


def test_report_formats_are_the_files_that_the_stage_writes() -> None:
    written = {file for files in WRITERS.values() for file in files}
    assert set(FILES.values()) == written | {"report.json"}


def test_report_of_a_recipe_that_made_none_says_how_to_make_it(tmp_path: Path, capsys: Captured) -> None:
    make(tmp_path)
    assert main(["report", "recipe.yaml"]) == 2
    assert capsys.readouterr().err == ("recipe.yaml: no report was made yet. Make it with: burnish run recipe.yaml\n")


def test_report_is_the_last_one_made_and_says_that_the_recipe_has_changed(
    tmp_path: Path, home: Path, capsys: Captured
) -> None:
    make(tmp_path)
    remember(home, {"schema_version": 3})
    assert main(["report", "recipe.yaml"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "<!-- burnish:report:toy -->\n"
    assert printed.err.startswith("This report is not of the recipe as it is now: ")


@pytest.mark.parametrize("words", [["--format", "json"], ["--json"], ["--output", "out/r.json"]])
def test_report_in_another_format_is_that_file(tmp_path: Path, home: Path, capsys: Captured, words: list[str]) -> None:
    make(tmp_path)
    remember(home, {"schema_version": 3})
    assert main(["report", "recipe.yaml", *words]) == 0
    out = tmp_path / "out" / "r.json"
    assert json.loads(out.read_text() if out.exists() else capsys.readouterr().out) == {"schema_version": 3}


def test_report_in_a_format_that_was_not_made_says_what_to_add(tmp_path: Path, home: Path, capsys: Captured) -> None:
    make(tmp_path)
    remember(home, {})
    assert main(["report", "recipe.yaml", "--format", "html"]) == 2
    assert capsys.readouterr().err == (
        "--format: the report was made without this format (got html). "
        "Add html to report.formats and run: burnish run recipe.yaml\n"
    )


def test_report_alone_is_light(tmp_path: Path, home: Path) -> None:
    make(tmp_path)
    remember(home, {})
    words = [sys.executable, "-c", LIST_HEAVY.replace(str(HEAVY), str(HEAVY | {"numpy"})), "report", "recipe.yaml"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stderr.endswith("light"), done.stderr


@pytest.mark.parametrize("second", ["b", "home/runs/b", "home/runs/b/report", "home/artifacts/report-bbbbbbbbbbbb"])
def test_report_compares_runs_by_name_path_folder_and_recipe(
    tmp_path: Path, home: Path, capsys: Captured, second: str
) -> None:
    make(tmp_path)
    report = report_of(tmp_path / "in")
    run(home, "b", remember(home, report, "b" * 64))
    remember(home, report)
    assert main(["report", "--compare", "recipe.yaml", second]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("## Burnish: 2 runs compared\n")
    assert "Nothing differs." in printed and "### Generations" not in printed


def test_report_compares_three_runs_as_a_chain_and_writes_json(tmp_path: Path, home: Path) -> None:
    for name in "abc":
        run(home, name, remember(home, report_of(tmp_path / "in" / name), name * 64))
    assert main(["report", "--compare", "a", "b", "c", "--output", "found.json"]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert [one["name"] for one in found["runs"]] == ["a", "b", "c"]
    assert found["chain"]["tables"][0]["accuracy"] == pytest.approx(0.38)


def test_report_labels_runs_of_one_name_by_what_was_written(tmp_path: Path, home: Path, capsys: Captured) -> None:
    report = report_of(tmp_path / "in")
    for place in ("x/docs", "y/docs"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "report.json").write_text(json.dumps(report))
    assert main(["report", "--compare", "x/docs/report.json", "y/docs/report.json", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in told["runs"]] == ["x/docs/report.json", "y/docs/report.json"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "report: takes a recipe, or --compare with runs. burnish report RECIPE"),
        (["recipe.yaml", "--compare", "a", "b"], "report: takes a recipe, or --compare with runs"),
        (["recipe.yaml", "--chain"], "--chain: belongs to --compare"),
        (["--compare", "20261123T1-a"], "--compare: takes two runs or more (got 20261123T1-a)"),
        (["--compare", "20261123T1-a", "20261123T1-b"], "no such run, report or recipe. Did you mean 20261123T1-a?"),
        (["--compare", "20261123T1-a", "zzz"], "zzz: no such run, report or recipe. The last run is 20261123T2-none"),
        (["--compare", "20261123T1-a", "20261123T2-none"], "20261123T2-none: is a run without a report"),
        (["--compare", "20261123T1-a", "old.json"], "is no report in format 3 (got schema_version 1)"),
        (["--compare", "20261123T1-a", "other.json"], "is no report in format 3 (got schema_version None)"),
        (["--compare", "20261123T1-a", "text.json"], "text.json: is no JSON"),
        (["--compare", "20261123T1-a", "20261123T1-a", "--format", "badge"], "--format: a comparison is Markdown or"),
        (["--compare", "20261123T1-a", "20261123T1-a", "--output", "a.html"], "--output: a comparison is Markdown or"),
    ],
)
def test_report_mistakes_are_one_line(
    tmp_path: Path, home: Path, capsys: Captured, words: list[str], said: str
) -> None:
    make(tmp_path)
    run(home, "20261123T1-a", remember(home, report_of(tmp_path / "in")))
    run(home, "20261123T2-none", None)
    for name, text in {"old": '{"schema_version": 1}', "other": "[]", "text": "no"}.items():
        (tmp_path / f"{name}.json").write_text(text)
    assert main(["report", *words]) == 2
    printed = capsys.readouterr()
    assert said in printed.err and printed.err.count("\n") == 1 and printed.out == ""
