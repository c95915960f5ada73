"""What is left of an evaluation that crashed or was killed, and that going on gives the bytes of an undisturbed one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines.engine.stage import Artifact
from pipelines.errors import UserError
from pipelines.evaluate import run as room
from pipelines.evaluate.config import EvaluateConfig
from pipelines.evaluate.run import run
from tests.unit.evaluate.conftest import files, write_yaml

ROOT = Path(__file__).parents[3]
FRAGILE = """
from pathlib import Path

def score(doc, results):
    if not Path(__file__).with_suffix('.mended').exists():
        raise ValueError('not yet')
    return {'half': 0.5}
"""
HANGS = """
import time
from pathlib import Path

def score(doc, results):
    if not Path(__file__).with_suffix('.mended').exists():
        time.sleep(600)
    return {'half': 0.5}
"""


@pytest.fixture
def suite(suite_folder):
    """Five tasks; the third has a function of its own that fails until half.mended is there."""
    (suite_folder / "half.py").write_text(FRAGILE)
    metric = [{"metric": "half", "aggregation": "mean", "higher_is_better": True}]
    content = {"include": "answers.yaml", "task": "half", "metric_list": metric}
    text = write_yaml(suite_folder / "half.yaml", content).read_text()
    (suite_folder / "half.yaml").write_text(text + "process_results: !function half.score\n")
    needs = [f"{suite_folder}/{name}" for name in ("half.py", "answers.yaml")]

    def task(kind: str, metric: str, rows: str, **more: object) -> dict[str, object]:
        source = {"file": f"{suite_folder}/{kind}.yaml", "documents": {"file": f"{suite_folder}/{rows}.jsonl"}}
        return source | {"metric": metric, "limit": 4, **more}

    tasks = {
        "one": task("choice", "acc", "choice"),
        "two": task("answers", "exact_match", "answers"),
        "three": task("half", "half", "answers", needs=needs),
        "four": task("choice", "acc_norm", "choice"),
        "five": task("answers", "exact_match", "answers", chat_template=False),
    }
    texts = {"pydoc": {"python_topics": True, "limit": 3, "max_bytes": 200}}
    return {"tasks": tasks, "texts": texts, "drift": {"chats": {"dataset": "own", "limit": 3}}}


@pytest.fixture
def again(pico_base, pico_tuned, suite, dataset, tmp_path):
    """Runs the stage on the same folder as often as it is called."""
    config = EvaluateConfig.model_validate({"model": "model", "suite": suite})
    models = {"model": pico_tuned[0], "base": pico_base}
    inputs = {name: Artifact(name, "model", path, str(path)) for name, path in models.items()} | {"own": dataset}

    def evaluate(out: Path):
        out.mkdir(exist_ok=True)
        return run(config, inputs, out)

    return evaluate


def mend(suite_folder: Path) -> None:
    (suite_folder / "half.mended").touch()


def killed(*given: object, **named: object) -> None:
    raise KeyboardInterrupt


def test_crash_in_the_third_task_keeps_the_first_two(again, suite_folder, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"suite\.tasks\.three: the function score at half\.py:6 fails on document t"):
        again(tmp_path / "out")
    kept = files(tmp_path / "out")
    assert kept.keys() == {f"measured/{n}.json" for n in ("one", "two")} | {
        f"samples/{n}.jsonl" for n in ("one", "two")
    }
    mend(suite_folder)
    measured, measure = [], room.measure
    monkeypatch.setattr(room, "measure", lambda *given: (measured.append(given[2].name), measure(*given))[1])
    metrics = again(tmp_path / "out")
    assert measured == ["three", "four", "five"]
    assert metrics == again(tmp_path / "fresh")
    assert files(tmp_path / "out") == files(tmp_path / "fresh")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["samples", "scores.json"]


def test_model_is_not_opened_where_everything_was_measured(again, suite_folder, tmp_path, monkeypatch):
    mend(suite_folder)
    monkeypatch.setattr(room.kept, "finish", killed)
    with pytest.raises(KeyboardInterrupt):
        again(tmp_path / "out")
    monkeypatch.undo()
    monkeypatch.setattr(room, "load_attribute", lambda name: pytest.fail(f"{name} was opened"))
    metrics = again(tmp_path / "out")
    assert metrics == json.loads((tmp_path / "out" / "scores.json").read_text())
    monkeypatch.undo()
    again(tmp_path / "fresh")
    assert files(tmp_path / "out") == files(tmp_path / "fresh")


def test_attempt_killed_after_the_scores_were_written_is_tidied_up(again, suite_folder, tmp_path, monkeypatch):
    mend(suite_folder)
    monkeypatch.setattr(room.kept, "shutil", SimpleNamespace(rmtree=killed))
    with pytest.raises(KeyboardInterrupt):
        again(tmp_path / "out")
    monkeypatch.undo()
    (tmp_path / "out" / "measured" / "two.json").unlink()
    monkeypatch.setattr(room, "load_attribute", lambda name: pytest.fail(f"{name} was opened"))
    assert again(tmp_path / "out")["scores"]["one/acc"]["n"] == 4
    assert not (tmp_path / "out" / "measured").exists()


@pytest.mark.slow
def test_killed_evaluation_goes_on_to_the_same_bytes(
    again, pico_base, pico_tuned, dataset, suite, suite_folder, tmp_path
):
    (suite_folder / "half.py").write_text(HANGS)
    inputs = {"model": ["model", str(pico_tuned[0])], "base": ["model", str(pico_base)]}
    call = {"config": {"model": "model", "suite": suite}, "inputs": inputs | {"own": ["dataset", str(dataset.path)]}}
    (tmp_path / "call.json").write_text(json.dumps(call))
    out = tmp_path / "out"
    out.mkdir()
    started = subprocess.Popen(
        [sys.executable, "-m", "tests.unit.evaluate.rank", str(tmp_path / "call.json"), str(out)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not (out / "measured" / "two.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    started.send_signal(signal.SIGKILL)
    started.wait()
    assert (out / "measured" / "two.json").exists()
    mend(suite_folder)
    again(out)
    again(tmp_path / "fresh")
    assert files(out) == files(tmp_path / "fresh")
