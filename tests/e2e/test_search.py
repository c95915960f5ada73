"""A recipe that searches a merge of two models, from models to verdict and report."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests import pico
from tests.e2e.project import burnish, command, environment
from tests.unit.merge.models import files

pytestmark = pytest.mark.slow

RECIPE = """
burnish: 1
name: searched
base: {path: base}
seed: 17
merge:
  best:
    models: [{use: {path: one}}, {use: {path: two}}]
    method: {kind: ties, density: 0.5}
    search:
      over: {method.lambda: {low: 0, high: 2}, method.density: [0.2, 0.5]}
      by: tpe
      trials: 6
      suite: dev
      objective: {minimize: words/bits_per_byte}
      subject_to: {general: {max_drop: 100}}
evaluate:
  suites: {dev: evals/dev.yaml, test: evals/test.yaml}
gates:
  - {suite: test, metric: words/bits_per_byte, rule: no_regression, margin: 100.0}
"""
SUITE = "texts:\n  words: {files: words.txt, split: SPLIT, max_length: 64}\n"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("searched")
    base = pico.save_model(folder / "base", seed=0)
    for seed, name in ((1, "one"), (2, "two")):
        pico.save_tuned(base, folder / name, seed=seed, scale=0.004)
    (folder / "evals").mkdir()
    (folder / "pyproject.toml").write_text("")
    words = [f"{line} {number}" for number, line in enumerate(pico.CORPUS * 4)]
    (folder / "words.txt").write_text("\n\n".join(words) + "\n")
    for split in ("dev", "test"):
        (folder / "evals" / f"{split}.yaml").write_text(SUITE.replace("SPLIT", split))
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder / "recipe.yaml"


def shown(recipe: Path, home: Path, name: str) -> dict:
    return json.loads(burnish(home, "show", str(recipe), name, "--json").stdout)


@pytest.fixture(scope="module")
def home(recipe: Path) -> Path:
    result = burnish(recipe.parent / "home", "run", str(recipe))
    assert result.returncode == 0, result.stdout + result.stderr
    return recipe.parent / "home"


def test_searched_recipe_is_judged_and_reported(recipe: Path, home: Path) -> None:
    report = Path(shown(recipe, home, "report")["path"])
    page = (report / "report.md").read_text()
    assert "`merge.best`: the best of 6 trials (`tpe`), 6 of them admissible" in page
    assert "`dev` (searched on)" in page and "which it never saw" in page
    assert (report / "pareto-best.svg").is_file()
    gains = json.loads((report / "report.json").read_text())["searches"][0]["gains"]
    assert [gain["suite"] for gain in gains] == ["dev", "test"]


def test_winner_is_what_the_plain_recipe_with_its_parameters_makes(recipe: Path, home: Path) -> None:
    record = json.loads((Path(shown(recipe, home, "best")["path"]) / "artifact.json").read_text())
    winner = record["metrics"]["winner"]
    plain = recipe.with_name("plain.yaml")
    lines = RECIPE.split("    search:")[0].replace("density: 0.5", f"density: {winner['method.density']}")
    plain.write_text(lines.replace("kind: ties,", f"kind: ties, lambda: {winner['method.lambda']},"))
    assert burnish(home, "run", str(plain)).returncode == 0
    ours, theirs = (files(Path(shown(path, home, "best")["path"])) for path in (recipe, plain))
    assert {**ours, "artifact.json": b""} == {**theirs, "artifact.json": b""}


def test_search_that_was_killed_goes_on(recipe: Path, home: Path) -> None:
    whole = Path(shown(recipe, home, "best")["path"])
    other = recipe.parent / "killed"
    run = subprocess.Popen(command("run", str(recipe)), env=environment(other), start_new_session=True)
    kept = other / "artifacts" / f"{whole.name}.partial" / "search" / "trials.json"
    deadline = time.monotonic() + 240
    while not (kept.is_file() and len(json.loads(kept.read_text())) >= 2):
        assert time.monotonic() < deadline and run.poll() is None
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert burnish(other, "run", str(recipe)).returncode == 0
    resumed = other / "artifacts" / whole.name
    told = [json.loads((folder / "artifact.json").read_text())["metrics"] for folder in (whole, resumed)]
    for metrics in told:
        metrics.pop("seconds")
        for trial in metrics["trials"]:
            trial.pop("seconds")
    assert told[0] == told[1]
    assert {**files(whole), "artifact.json": b""} == {**files(resumed), "artifact.json": b""}
