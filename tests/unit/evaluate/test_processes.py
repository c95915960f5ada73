"""Two processes over gloo against one: the same bytes; and what each of them does when something is wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.engine.launch import accelerate_command
from pipelines.engine.stage import Launch
from pipelines.evaluate import share
from tests.unit.evaluate.conftest import GENERATE, files, write_yaml

ROOT = Path(__file__).parents[3]
RANK = ["-m", "tests.unit.evaluate.rank"]


def evaluated(command: list[str], call: Path, out: Path) -> subprocess.CompletedProcess[str]:
    out.mkdir()
    settings = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "ACCELERATE_USE_CPU": "true"}
    return subprocess.run(
        [*command, *RANK, str(call), str(out)],
        cwd=ROOT,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def call(pico_base, pico_tuned, suite_folder, dataset):
    """Choices, greedy and sampled answers, texts and drift in batches that do not come out even."""
    sampled = {"until": [], "max_gen_toks": 6, "do_sample": True, "temperature": 1.0}
    write_yaml(suite_folder / "sampled.yaml", GENERATE | {"generation_kwargs": sampled})

    def task(name: str, metric: str) -> dict[str, object]:
        rows = f"{suite_folder}/{'choice' if name == 'choice' else 'answers'}.jsonl"
        return {"file": f"{suite_folder}/{name}.yaml", "documents": {"file": rows}, "metric": metric}

    suite = {
        "tasks": {
            "colours": task("choice", "acc_norm"),
            "answers": task("answers", "exact_match"),
            "sampled": task("sampled", "exact_match"),
        },
        "texts": {"pydoc": {"python_topics": True, "limit": 7, "max_bytes": 300, "max_length": 64}},
        "drift": {"chats": {"dataset": "own"}},
    }
    inputs = {
        "model": ["model", str(pico_tuned[0])],
        "base": ["model", str(pico_base)],
        "own": ["dataset", str(dataset.path)],
    }
    path = suite_folder / "call.json"
    path.write_text(json.dumps({"config": {"model": "model", "suite": suite, "batch_size": 3}, "inputs": inputs}))
    return path


@pytest.mark.slow
def test_two_processes_give_the_bytes_of_one(call, tmp_path):
    one = evaluated([sys.executable], call, tmp_path / "one")
    two = evaluated(accelerate_command(Launch(), 2), call, tmp_path / "two")
    for done, world in ((one, "1"), (two, "2")):
        assert done.returncode == 0, done.stderr[-3000:]
        assert json.loads(done.stdout.splitlines()[-1]) == {"world": world}
    assert len(files(tmp_path / "one")) == 6
    assert files(tmp_path / "one") == files(tmp_path / "two")


@pytest.mark.slow
def test_two_processes_both_say_what_is_wrong(call, tmp_path):
    content = json.loads(call.read_text())
    content["config"]["suite"]["tasks"]["colours"]["metric"] = "f1"
    call.write_text(json.dumps(content))
    done = evaluated(accelerate_command(Launch(), 2), call, tmp_path / "out")
    assert done.returncode != 0
    assert done.stderr.count("UserError: suite.tasks.colours: the task produces no such metric (got f1)") >= 1
    assert not files(tmp_path / "out")


@pytest.mark.parametrize("world", [1, 2, 3])
def test_shared_batches_come_back_in_their_order(world, monkeypatch):
    batches = list(range(7))
    parts = [[batch * batch for batch in batches[rank::world]] for rank in range(world)]

    def gather(into: list[list[int]], mine: list[int]) -> None:
        assert mine == parts[1 % world]
        into[:] = parts

    monkeypatch.setattr(share, "rank", lambda: 1 % world)
    monkeypatch.setattr(share, "world", lambda: world)
    monkeypatch.setattr(share.dist, "all_gather_object", gather)
    told: list[tuple[int, int]] = []
    assert share.shared(batches, lambda batch: batch * batch, lambda *now: told.append(now)) == [n * n for n in batches]
    assert told[-1][0] <= 7 and all(total == 7 for _, total in told)
