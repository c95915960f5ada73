"""Two processes over gloo against one: the same steps to the last few bits."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from pipelines.engine.launch import accelerate_command
from pipelines.engine.stage import Launch
from tests.unit.train.rows import dataset, varied

ROOT = Path(__file__).parents[3]
RANK = ["-m", "tests.unit.train.rank"]


def train(command, arguments, out, config, **environment):
    out.mkdir(exist_ok=True)
    settings = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "ACCELERATE_USE_CPU": "true", **environment}
    done = subprocess.run(
        [*command, *RANK, *map(str, arguments), str(out), json.dumps(config)],
        cwd=ROOT,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))


@pytest.fixture(scope="module")
def arguments(tmp_path_factory, pico_base):
    folder = tmp_path_factory.mktemp("data")
    new, old = dataset(folder / "new", varied(21)), dataset(folder / "old", varied(9, 1))
    return [pico_base, new.path, old.path]


def config(kind, **changes):
    start = {"on": "data", "method": {"kind": kind}, "learning_rate": 1e-3, "batch_size": 4, "checkpoint_every": 2}
    return start | {"replay": {"from": "old", "ratio": 0.3}} | changes


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lora", "full"])
def test_two_processes_give_the_weights_of_one(kind, arguments, tmp_path):
    wanted = config(kind, checkpoints={"every": 2, "last": 2})
    one = train([sys.executable], arguments, tmp_path / "one", wanted)
    two = train(accelerate_command(Launch(), 2), arguments, tmp_path / "two", wanted | {"micro_batch_size": 1})
    assert (one["world"], two["world"]) == ("1", "2")
    assert one["steps"] == two["steps"]
    for mine, other in zip(one["curve"], two["curve"], strict=True):
        assert mine == pytest.approx(other, rel=1e-5)
    made = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*"))
    assert made == sorted(path.relative_to(tmp_path / "two") for path in (tmp_path / "two").rglob("*"))
    weights = [path for path in made if path.suffix == ".safetensors"]
    assert len(weights) == 2
    for path in weights:
        alone, together = load_file(tmp_path / "one" / path), load_file(tmp_path / "two" / path)
        assert max((alone[name] - together[name]).abs().max().item() for name in alone) < 1e-5


@pytest.mark.slow
def test_processes_with_other_hash_seeds_write_the_same_bytes(arguments, tmp_path):
    made = []
    for seed in ("1", "2"):
        train([sys.executable], arguments, tmp_path / seed, config("lora"), PYTHONHASHSEED=seed)
        made.append({file.name: file.read_bytes() for file in (tmp_path / seed).iterdir()})
    assert made[0] == made[1]
