"""Weights of earlier steps: which are kept, and that keeping them changes nothing else."""

import hashlib

import pytest

from pipelines.engine.stage import Artifact
from pipelines.errors import UserError
from pipelines.train import trainer as trainer_module
from pipelines.train.check import check
from pipelines.train.config import Checkpoints, TrainConfig
from pipelines.train.earlier import kept_steps
from pipelines.train.run import run
from tests.unit.train.rows import dataset, varied

LORA = {"kind": "lora", "rank": 4}
FULL = {"kind": "full"}


class Killed(BaseException):
    """Ends a run with no time to save anything."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, pico_base):
    data = dataset(tmp_path_factory.mktemp("data") / "new", varied(24))
    return {"base": Artifact("base", "model", pico_base, "0"), "data": data}


def settings(**changes):
    start = {"on": "data", "method": LORA, "learning_rate": 1e-2, "batch_size": 4, "checkpoint_every": 3}
    return TrainConfig.model_validate(start | changes)


def train(config, inputs, out):
    out.mkdir(exist_ok=True)
    return run(config, inputs, out)


def digests(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize(
    ("every", "last", "total", "steps"),
    [(20, 4, 160, (100, 120, 140)), (2, 3, 5, (1, 3)), (1, 2, 2, (1,)), (1, 5, 5, (1, 2, 3, 4))],
)
def test_kept_steps_are_counted_back_from_the_last(every, last, total, steps):
    assert kept_steps(Checkpoints(every=every, last=last), total) == steps


def test_kept_steps_of_a_run_too_short_are_refused():
    with pytest.raises(
        UserError, match=r"6 steps is too short for 3 checkpoints 3 steps apart\. Set every to at most 2"
    ):
        kept_steps(Checkpoints(every=3, last=3), 6)


def test_check_knows_the_steps_of_the_recipe():
    assert check(settings(max_steps=7, checkpoints={"every": 3, "last": 3})) == []
    (problem,) = check(settings(max_steps=2, checkpoints={"every": 1, "last": 4}))
    assert str(problem).endswith("too short for 4 checkpoints 1 steps apart. Set last to at most 2")


@pytest.mark.parametrize("method", [LORA, FULL], ids=["lora", "full"])
def test_run_kept_weights_are_those_of_a_run_ended_there(method, inputs, tmp_path):
    """With a constant rate the first steps of a long run are the whole of a short one."""
    wanted = settings(method=method, schedule="constant", warmup=0, max_steps=6, checkpoints={"every": 2, "last": 3})
    train(wanted, inputs, tmp_path / "long")
    train(settings(method=method, schedule="constant", warmup=0, max_steps=4), inputs, tmp_path / "short")
    kept = tmp_path / "long" / "checkpoints"
    assert sorted(path.name for path in kept.iterdir()) == ["step-000002", "step-000004"]
    assert digests(kept / "step-000004") == digests(tmp_path / "short")
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in kept.rglob("*") if path.is_file())


@pytest.mark.parametrize("method", [LORA, FULL], ids=["lora", "full"])
def test_run_keeping_weights_leaves_the_final_ones_alone(method, inputs, tmp_path):
    plain = train(settings(method=method), inputs, tmp_path / "plain")
    kept = train(settings(method=method, checkpoints={"every": 1, "last": 4}), inputs, tmp_path / "kept")
    assert kept["curve"] == plain["curve"]
    made = digests(tmp_path / "kept")
    assert {name: made[name] for name in made if not name.startswith("checkpoints/")} == digests(tmp_path / "plain")


@pytest.mark.parametrize("killed_at", [3, 5])
@pytest.mark.parametrize("method", [LORA, FULL], ids=["lora", "full"])
def test_run_killed_goes_on_to_the_same_kept_weights(method, killed_at, inputs, tmp_path, monkeypatch):
    config = settings(method=method, checkpoints={"every": 2, "last": 3})
    train(config, inputs, tmp_path / "whole")

    def progress(done, total, unit, **numbers):
        if done == killed_at:
            raise Killed

    monkeypatch.setattr(trainer_module, "progress", progress)
    with pytest.raises(Killed):
        train(config, inputs, tmp_path / "out")
    monkeypatch.undo()
    half = max((tmp_path / "out" / "checkpoints").glob("step-*"))
    next(half.glob("*.safetensors")).write_bytes(b"half")
    train(config, inputs, tmp_path / "out")
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")
