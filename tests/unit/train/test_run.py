"""Training pico models from rows to artifact, stopped and resumed anywhere."""

import hashlib
import json
import os
import shutil
import signal

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from pipelines.engine.stage import Artifact
from pipelines.errors import UserError
from pipelines.train import trainer as trainer_module
from pipelines.train.config import TrainConfig
from pipelines.train.run import run
from tests import pico
from tests.unit.train.rows import dataset, row, varied

LORA = {"kind": "lora", "rank": 4, "dropout": 0.1}
FULL = {"kind": "full"}
QLORA = {"kind": "qlora", "rank": 4}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, pico_base):
    folder = tmp_path_factory.mktemp("data")
    return {
        "base": Artifact("base", "model", pico_base, "0"),
        "data": dataset(folder / "new", varied(20)),
        "old": dataset(folder / "old", varied(9, 1)),
    }


def settings(**changes):
    start = {"on": "data", "method": LORA, "learning_rate": 1e-2, "batch_size": 4, "checkpoint_every": 2}
    return TrainConfig.model_validate(start | changes)


def train(config, inputs, out):
    out.mkdir(exist_ok=True)
    return run(config, inputs, out)


def digests(folder):
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def at_step(step, act, monkeypatch):
    """Have `act` happen when the given step is over."""

    def progress(done, total, unit, **numbers):
        if done == step:
            act()

    monkeypatch.setattr(trainer_module, "progress", progress)


def test_lora_output_is_a_peft_adapter_that_names_its_base(inputs, tmp_path):
    train(settings(), inputs, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "base"
    assert config["target_modules"] == sorted(config["target_modules"])
    assert config["lora_alpha"] == 8
    assert str(tmp_path) not in json.dumps(config)
    weights = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    assert all((path.stat().st_mode & 0o777) == 0o644 for path in (tmp_path / "out").iterdir())


def test_lora_adapter_lowers_the_loss_of_its_base(inputs, tmp_path):
    result = train(settings(epochs=8, method={"kind": "lora", "rank": 16}), inputs, tmp_path / "out")
    assert result["loss_last"] < result["loss_first"] - 0.3
    base = AutoModelForCausalLM.from_pretrained(inputs["base"].path)
    ids = torch.tensor([varied(20)[0].input_ids])
    before = base(input_ids=ids, labels=ids).loss.item()
    tuned = PeftModel.from_pretrained(base, tmp_path / "out")
    assert tuned(input_ids=ids, labels=ids).loss.item() < before


def test_full_output_keeps_every_other_file_of_the_base(inputs, tmp_path):
    train(settings(method=FULL), inputs, tmp_path / "out")
    made, base = digests(tmp_path / "out"), digests(inputs["base"].path)
    assert made.keys() == base.keys()
    assert {name for name in made if made[name] != base[name]} == {"model.safetensors"}
    assert all((path.stat().st_mode & 0o777) == 0o644 for path in (tmp_path / "out").iterdir())


def test_full_bfloat16_base_stays_bfloat16_and_tied(tmp_path, inputs):
    base = pico.save_model(tmp_path / "base", 0, torch.bfloat16)
    train(settings(method=FULL), inputs | {"base": Artifact("base", "model", base, "0")}, tmp_path / "out")
    before, after = load_file(base / "model.safetensors"), load_file(tmp_path / "out" / "model.safetensors")
    assert before.keys() == after.keys()
    assert {weight.dtype for weight in after.values()} == {torch.bfloat16}
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_full_untied_head_is_saved(tmp_path, inputs):
    base = pico.save_model(tmp_path / "base", 0, tie_word_embeddings=False)
    train(settings(method=FULL), inputs | {"base": Artifact("base", "model", base, "0")}, tmp_path / "out")
    before, after = load_file(base / "model.safetensors"), load_file(tmp_path / "out" / "model.safetensors")
    assert not torch.equal(before["lm_head.weight"], after["lm_head.weight"])


@pytest.mark.parametrize("method", [LORA, FULL], ids=["lora", "full"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_run_same_recipe_twice_gives_the_same_bytes(method, precision, inputs, tmp_path):
    config = settings(method=method, precision=precision, replay={"from": "old", "ratio": 0.3})
    first, second = train(config, inputs, tmp_path / "one"), train(config, inputs, tmp_path / "two")
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    assert first["curve"] == second["curve"]


def test_run_another_seed_gives_other_weights(inputs, tmp_path):
    train(settings(), inputs, tmp_path / "one")
    train(settings(seed=1), inputs, tmp_path / "two")
    assert digests(tmp_path / "one") != digests(tmp_path / "two")


@pytest.mark.parametrize("method", [LORA, FULL], ids=["lora", "full"])
def test_run_asked_to_stop_checkpoints_and_goes_on_to_equal_bytes(method, inputs, tmp_path, monkeypatch):
    config = settings(method=method, checkpoint_every=100)
    whole = train(config, inputs, tmp_path / "whole")
    at_step(2, lambda: os.kill(os.getpid(), signal.SIGTERM), monkeypatch)
    with pytest.raises(SystemExit) as leaving:
        train(config, inputs, tmp_path / "out")
    assert leaving.value.code == 143
    monkeypatch.undo()
    rest = train(config, inputs, tmp_path / "out")
    assert rest["resumed_from"] == 3
    assert rest["curve"] == whole["curve"]
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")


@pytest.mark.parametrize("method", [LORA, FULL], ids=["lora", "full"])
def test_run_killed_goes_on_from_the_last_whole_checkpoint(method, inputs, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def kill():
        raise Killed

    config = settings(method=method, replay={"from": "old", "ratio": 0.3})
    whole = train(config, inputs, tmp_path / "whole")
    at_step(5, kill, monkeypatch)
    with pytest.raises(Killed):
        train(config, inputs, tmp_path / "out")
    monkeypatch.undo()
    checkpoints = tmp_path / "out" / "checkpoints"
    assert [path.name for path in checkpoints.iterdir()] == ["checkpoint-4"]
    shutil.copytree(checkpoints / "checkpoint-4", checkpoints / "checkpoint-5")
    (checkpoints / "checkpoint-5" / "DONE").unlink()
    (checkpoints / "checkpoint-5" / "optimizer.pt").write_bytes(b"half")
    rest = train(config, inputs, tmp_path / "out")
    assert rest["resumed_from"] == 4
    assert rest["curve"] == whole["curve"]
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")


def test_qlora_trains_and_resumes_to_close_weights(inputs, tmp_path, monkeypatch):
    config = settings(method=QLORA, epochs=2, checkpoint_every=100)
    result = train(config, inputs, tmp_path / "whole")
    assert result["loss_last"] < result["loss_first"]
    at_step(4, lambda: os.kill(os.getpid(), signal.SIGINT), monkeypatch)
    with pytest.raises(SystemExit):
        train(config, inputs, tmp_path / "out")
    monkeypatch.undo()
    assert train(config, inputs, tmp_path / "out")["resumed_from"] == 5
    whole, resumed = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("whole", "out"))
    assert {weight.dtype for weight in whole.values()} == {torch.float32}
    assert all(torch.allclose(whole[name], resumed[name], atol=1e-5) for name in whole)


@pytest.mark.parametrize("micro", [1, 2])
def test_run_smaller_micro_batches_give_the_same_step(micro, inputs, tmp_path):
    whole = train(settings(method={"kind": "lora", "rank": 4}), inputs, tmp_path / "whole")
    split = train(settings(method={"kind": "lora", "rank": 4}, micro_batch_size=micro), inputs, tmp_path / "split")
    assert [point[1] for point in split["curve"]] == pytest.approx([point[1] for point in whole["curve"]], rel=1e-4)


def test_run_gradient_checkpointing_changes_no_loss(inputs, tmp_path):
    config = {"method": {"kind": "lora", "rank": 4}}
    plain = train(settings(**config), inputs, tmp_path / "plain")
    saved = train(settings(**config, gradient_checkpointing=True), inputs, tmp_path / "saved")
    assert [point[1] for point in saved["curve"]] == pytest.approx([point[1] for point in plain["curve"]], rel=1e-5)


def test_run_replay_is_counted_and_tracked_apart(inputs, tmp_path):
    result = train(settings(replay={"from": "old", "ratio": 0.3}, epochs=3), inputs, tmp_path / "out")
    assert result["replay"]["wanted"] == 0.3
    assert result["replay"]["achieved"] == pytest.approx(0.3, abs=0.02)
    assert any(point[2] is not None for point in result["curve"])
    assert len(result["curve"]) == result["steps"]


def test_run_max_steps_ends_after_so_many(inputs, tmp_path):
    assert train(settings(max_steps=3, epochs=9), inputs, tmp_path / "out")["steps"] == 3


def test_run_loss_that_is_no_number_is_refused(inputs, tmp_path):
    with pytest.raises(UserError, match="the loss is no number at step"):
        train(settings(method=FULL, learning_rate=1e30, warmup=0, max_grad_norm=1e30), inputs, tmp_path / "out")


def test_run_rows_without_loss_are_refused(inputs, tmp_path):
    empty = dataset(tmp_path / "empty", [row(1, 9, 0)], "tickets")
    with pytest.raises(UserError, match="no training row with a token that carries loss"):
        train(settings(), inputs | {"data": empty}, tmp_path / "out")


def test_run_empty_replay_buffer_is_refused(inputs, tmp_path):
    empty = dataset(tmp_path / "empty", [], "buffer")
    with pytest.raises(UserError, match=r"replay\.from: has no training rows"):
        train(settings(replay={"from": "old"}), inputs | {"old": empty}, tmp_path / "out")


def test_run_rows_of_another_tokenizer_are_refused(inputs, tmp_path):
    foreign = dataset(tmp_path / "foreign", [row(1, 9, 3, vocabulary=9000)])
    with pytest.raises(UserError, match="the rows hold token ids up to"):
        train(settings(), inputs | {"data": foreign}, tmp_path / "out")


def test_run_uneven_micro_batches_are_refused(inputs, tmp_path):
    with pytest.raises(UserError, match="does not split evenly"):
        train(settings(micro_batch_size=3), inputs, tmp_path / "out")


@pytest.mark.parametrize("targets", [["q_proj", "value_proj"], "nothing", ["lm_head"]])
def test_run_targets_that_are_no_modules_are_refused(targets, inputs, tmp_path):
    with pytest.raises(UserError, match=r"method\.targets"):
        train(settings(method={"kind": "lora", "targets": targets}), inputs, tmp_path / "out")


def test_run_named_targets_are_the_only_ones_trained(inputs, tmp_path):
    train(settings(method={"kind": "lora", "targets": ["v_proj", "q_proj"]}), inputs, tmp_path / "out")
    names = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert {name.split(".")[-3] for name in names} == {"q_proj", "v_proj"}
