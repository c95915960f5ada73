"""One recipe, from data to verdict, on pico models."""

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.project import burnish, command, contents, environment, make

pytestmark = pytest.mark.slow


class Finished(NamedTuple):
    """One undisturbed run: its recipe, its home, what it printed, and the digests of what it made."""

    recipe: Path
    home: Path
    printed: str
    made: dict[str, str]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The run that the others are compared with."""
    folder = tmp_path_factory.mktemp("project")
    recipe, home = make(folder), folder / "home"
    result = burnish(home, "run", str(recipe))
    assert result.returncode == 0, result.stdout + result.stderr
    return Finished(recipe, home, result.stdout, contents(home))


def test_recipe_runs_from_data_to_verdict_and_export(finished: Finished) -> None:
    assert "Verdict: PASS" in finished.printed
    summary = json.loads(burnish(finished.home, "run", str(finished.recipe), "--json").stdout)
    exported = Path(summary["artifacts"]["export.ship"]["path"]) / "safetensors"
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in exported.iterdir()}
    report = Path(summary["artifacts"]["report"]["path"]) / "report.md"
    assert "words/bits_per_byte" in report.read_text()


def test_recipe_second_run_executes_nothing(finished: Finished) -> None:
    recipe, home = finished.recipe, finished.home
    runs = sorted((home / "runs").iterdir())
    result = burnish(home, "run", str(recipe))
    assert result.returncode == 0
    assert "Nothing to do" in result.stdout
    assert sorted((home / "runs").iterdir()) == runs


def test_recipe_in_another_home_gives_the_same_bytes(finished: Finished, tmp_path: Path) -> None:
    assert burnish(tmp_path / "home", "run", str(finished.recipe)).returncode == 0
    assert contents(tmp_path / "home") == finished.made


def test_recipe_failed_gate_holds_the_export_back_and_exits_3(finished: Finished) -> None:
    recipe, home = finished.recipe, finished.home
    strict = recipe.with_name("strict.yaml")
    strict.write_text(
        "burnish: 1\nextends: recipe.yaml\nname: strict\n"
        "gates:\n  - {suite: test, metric: words/bits_per_byte, rule: improve, by: 50.0}\n"
    )
    for _ in range(2):
        result = burnish(home, "run", str(strict))
        assert result.returncode == 3, result.stdout + result.stderr
        assert "export.ship was held back" in result.stdout


def _run_and_kill(recipe: Path, home: Path, after: float, whom: str) -> None:
    """Start a run and kill it, or the worker it has at that moment, with signal 9."""
    run = subprocess.Popen(
        command("run", str(recipe)), env=environment(home), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        run.wait(after)
    except subprocess.TimeoutExpired:
        victims = [run.pid] if whom == "run" else _descendants(run.pid)[-1:]
        for victim in victims or [run.pid]:
            os.kill(victim, signal.SIGKILL)
        run.wait(60)


def _descendants(process: int) -> list[int]:
    """Processes below this one, parents first."""
    found = []
    for child in Path(f"/proc/{process}/task/{process}/children").read_text().split():
        found += [int(child), *_descendants(int(child))]
    return found


def test_recipe_killed_at_ten_moments_ends_in_the_same_bytes(finished: Finished, tmp_path: Path) -> None:
    recipe, home, moments = finished.recipe, tmp_path / "home", random.Random(5)
    for place in range(10):
        _run_and_kill(recipe, home, moments.uniform(2, 12), "run" if place % 2 else "worker")
    result = burnish(home, "run", str(recipe))
    assert result.returncode == 0, result.stdout + result.stderr
    assert contents(home) == finished.made


def test_recipe_terminated_stops_in_order_and_goes_on(finished: Finished, tmp_path: Path) -> None:
    recipe, home = finished.recipe, tmp_path / "home"
    run = subprocess.Popen(command("run", str(recipe)), env=environment(home), stdout=subprocess.PIPE, text=True)
    while not list((home / "artifacts").glob("train-*.partial/checkpoints/*")):
        assert run.poll() is None
        time.sleep(0.05)
    run.terminate()
    printed, _ = run.communicate(timeout=120)
    assert run.returncode == 128 + signal.SIGTERM
    assert "go on with" in printed
    assert burnish(home, "run", str(recipe)).returncode == 0
    assert contents(home) == finished.made


def test_recipe_under_a_launcher_trains_with_its_processes(finished: Finished, tmp_path: Path) -> None:
    launched = ["-m", "accelerate.commands.launch", "--num_processes", "2", "--cpu"]
    run = command("run", str(finished.recipe), "--only", "tuned", "--json")
    result = subprocess.run(
        [run[0], *launched, *run[1:]],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    log = next(tmp_path.glob("runs/*/logs/*train.tuned-call.json"))
    assert json.loads(log.read_text())["name"] == "train.tuned"
    record = json.loads(next(tmp_path.glob("artifacts/train-*/artifact.json")).read_text())
    assert record["metrics"]["processes"] == 2


def test_recipe_with_two_processes_trains_with_both(finished: Finished, tmp_path: Path) -> None:
    result = burnish(
        tmp_path, "run", str(finished.recipe), "--only", "tuned", "--set", "train.tuned.launch.processes=2"
    )
    assert result.returncode == 0, result.stdout + result.stderr
    record = json.loads(next(tmp_path.glob("artifacts/train-*/artifact.json")).read_text())
    assert record["metrics"]["processes"] == 2
