"""Advice on merging, from the recipe alone and from finished models."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pipelines.cli.main import main
from pipelines.engine.plan import Step, make_plan
from pipelines.engine.store import Record, Store
from pipelines.hf.rows import Row, write_rows
from pipelines.recipe.compile import compile_graph
from pipelines.recipe.load import load
from tests import pico
from tests.unit.cli.test_main import LIST_HEAVY
from tests.unit.recipe.project import RECIPE as SOUND
from tests.unit.recipe.project import make

Captured = pytest.CaptureFixture[str]
RECIPE = """\
burnish: 1
name: pico
base: {path: base}
data:
  chats: {source: {files: chats.jsonl}, split: {dev: 0.1}}
  code: {source: {files: more.jsonl}, split: {dev: 0.1}}
train:
  one: {on: chats, method: {kind: full}, learning_rate: 1.0e-3}
  two: {on: code, method: {kind: full}, learning_rate: 1.0e-3}
merge:
  both: {models: [{use: one}, {use: two}], method: {kind: ties}}
  kept: {models: [{use: one}], method: {kind: interpolate, alpha: 0.7}}
"""
WITHOUT_MERGE = RECIPE[: RECIPE.index("merge:")]


class Project(NamedTuple):
    """A recipe whose models are made, and its store."""

    recipe: Path
    home: Path


def put(store: Store, step: Step, folder: Path, **metrics: Any) -> None:
    """Make `folder` the artifact of a step."""
    node = step.node
    shutil.copytree(folder, store.begin(node.stage.name, step.key, False), dirs_exist_ok=True)
    store.commit(Record(node.id, node.stage.name, node.kind, step.key, step.identity, {}, metrics, {}))


def dataset(folder: Path, text: str) -> Path:
    (folder / "rows").mkdir(parents=True)
    tokens = pico.tokenizer()(text)["input_ids"]
    rows = [Row(f"{place}", "x", None, tokens[place:], tokens[place:]) for place in range(3)]
    write_rows(folder / "rows" / "dev.parquet", rows)
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, pico_base: Path) -> Project:
    folder = tmp_path_factory.mktemp("advised")
    recipe = make(folder, RECIPE)
    (folder / "more.jsonl").write_text((folder / "chats.jsonl").read_text() * 2)
    store = Store(folder / "home")
    steps = {step.node.id: step for step in make_plan(compile_graph(load(recipe)), store, "pico")}
    put(store, steps["base"], pico_base, parameters=31328)
    for seed, name in enumerate(("one", "two")):
        put(store, steps[f"train.{name}"], pico.save_tuned(pico_base, folder / name, seed, scale=0.002))
    put(store, steps["data.chats"], dataset(folder / "chats", pico.CORPUS[0]))
    put(store, steps["data.code"], dataset(folder / "code", pico.CORPUS[2]))
    return Project(recipe, store.home)


@pytest.fixture(scope="module")
def measured(project: Project) -> dict[str, Any]:
    """What the command says once the models are there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BURNISH_HOME", str(project.home))
        words = ["show", "merge-advice", str(project.recipe), "--json"]
        told = subprocess.run(
            [sys.executable, "-m", "pipelines", *words], capture_output=True, text=True, timeout=200, check=False
        )
    assert told.returncode == 0, told.stdout + told.stderr
    found: dict[str, Any] = json.loads(told.stdout)
    return found


def test_advice_on_finished_models_is_measured(measured: dict[str, Any]) -> None:
    both, kept = measured["advice"]
    assert (both["name"], both["models"], both["measured"]) == ("both", ["one", "two"], True)
    assert (both["advice"]["rule"], kept["advice"]["rule"]) == ("small model", "one model")
    sizes = [model["size"] for model in both["evidence"]["models"]]
    assert all(0.05 < size < 0.2 for size in sizes)
    assert abs(both["evidence"]["pairs"][0]["cosine"]) < 0.05
    assert kept["evidence"]["models"][0] == both["evidence"]["models"][0]
    assert both["evidence"]["curves"] == []


def test_measured_advice_is_found_again_by_plan_show_and_report(
    measured: dict[str, Any], project: Project, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setenv("BURNISH_HOME", str(project.home))
    runs = sorted((project.home / "runs").iterdir())
    assert main(["show", "merge-advice", str(project.recipe), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == measured
    assert sorted((project.home / "runs").iterdir()) == runs
    assert main(["plan", str(project.recipe), "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert planned["advice"] == measured["advice"]
    assert {"advice.both": "cached", "report": "run"}.items() <= {
        step["name"]: step["state"] for step in planned["steps"]
    }.items()
    assert main(["show", str(project.recipe), "both"]) == 0
    assert "  advice   train jointly: 31.3K parameters" in capsys.readouterr().out


def test_measured_advice_is_a_short_line_of_the_plan(
    measured: dict[str, Any], project: Project, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setenv("BURNISH_HOME", str(project.home))
    assert main(["plan", str(project.recipe)]) == 0
    assert "advice on both: train jointly one, two [arXiv 2601.21115]\n" in capsys.readouterr().out


@pytest.mark.slow
def test_loss_is_measured_along_every_segment_and_preferred_by_the_plan(
    measured: dict[str, Any], project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    shutil.copytree(project.home, tmp_path / "home")
    monkeypatch.setenv("BURNISH_HOME", str(tmp_path / "home"))
    assert main(["show", "merge-advice", str(project.recipe), "--measure-loss", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["advice"]
    curves = {(*curve["ends"], curve["data"]): curve for curve in found[0]["evidence"]["curves"]}
    assert list(curves) == [
        ("base", "one", "chats"), ("base", "two", "code"), ("one", "two", "chats"), ("one", "two", "code"),
    ]  # fmt: skip
    between = curves["one", "two", "chats"]
    assert between["losses"][0] == curves["base", "one", "chats"]["losses"][-1]
    assert between["rows"] == 3 and len(between["losses"]) == 5 and between["barrier"] < 0.1
    assert main(["plan", str(project.recipe), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["advice"] == found


def test_text_names_evidence_source_and_next_lines(
    measured: dict[str, Any], project: Project, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setenv("BURNISH_HOME", str(project.home))
    assert main(["show", "merge-advice", str(project.recipe)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("both: train jointly one, two\n  why      31.3K parameters, fewer than 3B (uncalibrated)")
    assert "    one - two: cosine" in printed
    assert "joint: {on: joint-rows, replay: {from: own, ratio: 0.05}, method: {kind: full}, learning_rate:" in printed


def test_models_that_are_not_made_are_named_and_advised_from_lineage(tmp_path: Path) -> None:
    recipe = make(tmp_path, SOUND)
    done = subprocess.run(
        [sys.executable, "-c", LIST_HEAVY, "show", "merge-advice", str(recipe)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and done.stderr.endswith("light"), done.stderr
    assert done.stdout.startswith("kept: interpolate tuned\n")
    assert "evidence none: base, train.tuned not made yet" in done.stdout


def test_plan_of_models_that_are_not_made_asks_for_evidence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setenv("BURNISH_HOME", str(tmp_path / "home"))
    recipe = make(tmp_path, RECIPE.replace("{path: base}", "{wheel: some-model==1.0, gguf: x.gguf}"))
    assert main(["plan", str(recipe)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("advice on ")]
    assert [line.split(" [")[0] for line in lines] == [
        "advice on both: merge one, two",
        "advice on kept: interpolate one",
    ]
    assert all(line.endswith(f"from lineage alone, evidence: burnish show merge-advice {recipe}") for line in lines)


def test_trained_models_without_a_merge_are_advised_on_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setenv("BURNISH_HOME", str(tmp_path / "home"))
    recipe = make(tmp_path, WITHOUT_MERGE.replace("on: code", "on: chats, seed: 3"))
    assert main(["show", "merge-advice", str(recipe), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["advice"]
    assert [(one["name"], one["models"], one["advice"]["verdict"]) for one in found] == [
        ("trained", ["one", "two"], "soup")
    ]
    assert found[0]["missing"] == ["base", "train.one", "train.two"]


def test_recipe_with_nothing_to_merge_is_wrong(tmp_path: Path, capsys: Captured) -> None:
    one = WITHOUT_MERGE[: WITHOUT_MERGE.index("  two:")]
    assert main(["show", "merge-advice", str(make(tmp_path, one))]) == 2
    assert "has nothing to merge. Add a merge: section" in capsys.readouterr().err


def test_loss_without_merge_advice_is_wrong(tmp_path: Path, capsys: Captured) -> None:
    assert main(["show", str(make(tmp_path, RECIPE)), "both", "--measure-loss"]) == 2
    assert "belongs to `burnish show merge-advice RECIPE`" in capsys.readouterr().err
