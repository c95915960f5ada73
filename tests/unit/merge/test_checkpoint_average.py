"""The average of the checkpoints that a training run kept."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipelines.errors import UserError
from pipelines.merge.checkpoint_average import checkpoint_average
from pipelines.train.config import TrainConfig
from pipelines.train.run import run as train
from tests import pico
from tests.unit.merge.models import artifact, cast, files, merged, same, tensors
from tests.unit.train.rows import dataset, varied

METHOD = {"kind": "checkpoint_average"}
WEIGHTS = "adapter_model.safetensors"


def moved(source: Path, target: Path, seed: int) -> Path:
    """The adapter with other numbers in its matrices."""
    shutil.copytree(source, target)
    generator = torch.Generator().manual_seed(seed)
    noise = {
        name: weight + 0.05 * torch.randn(weight.shape, generator=generator)
        for name, weight in load_file(source / WEIGHTS).items()
    }
    save_file(noise, target / WEIGHTS, {"format": "pt"})
    return target


def training(out: Path, steps: list[Path]) -> Path:
    """What a run leaves whose last weights are the last of `steps`."""
    shutil.copytree(steps[-1], out)
    for number, step in enumerate(steps[:-1], 1):
        shutil.copytree(step, out / "checkpoints" / f"step-{number * 20:06}")
    return out


@pytest.fixture
def models(tmp_path: Path, pico_base: Path) -> list[Path]:
    return [pico.save_tuned(pico_base, tmp_path / f"tuned{seed}", seed=seed) for seed in (1, 2, 3, 4)]


@pytest.fixture
def adapters(tmp_path: Path, lora: Path) -> list[Path]:
    return [moved(lora, tmp_path / f"lora{seed}", seed) for seed in (1, 2, 3)]


def test_models_average_is_the_uniform_soup(models, pico_base: Path, tmp_path: Path) -> None:
    run = training(tmp_path / "run", models)
    out, metrics = merged(tmp_path / "out", pico_base, {run: 1.0}, method=METHOD)
    expected = {name: torch.stack([tensors(each)[name] for each in models]).double().mean(0) for name in tensors(run)}
    assert all(torch.allclose(tensors(out)[name].double(), expected[name], atol=1e-7) for name in expected)
    names = [model["name"] for model in metrics["models"]]
    assert names == ["run (step 20)", "run (step 40)", "run (step 60)", "run"]
    assert not (out / "checkpoints").exists()


@pytest.mark.parametrize("last", [2, 3])
def test_last_leaves_the_earlier_ones_out(models, pico_base: Path, tmp_path: Path, last: int) -> None:
    run, rest = training(tmp_path / "run", models), training(tmp_path / "rest", models[-last:])
    out, metrics = merged(tmp_path / "out", pico_base, {run: 1.0}, method=METHOD | {"last": last})
    expected, _ = merged(tmp_path / "expected", pico_base, {rest: 1.0}, method=METHOD)
    assert files(out) == files(expected)
    assert len(metrics["models"]) == last


def test_last_one_is_the_final_model_bitwise(models, pico_base: Path, tmp_path: Path) -> None:
    run = training(tmp_path / "run", models)
    out, _ = merged(tmp_path / "out", pico_base, {run: 1.0}, method=METHOD | {"last": 1})
    assert same(out, models[-1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_equal_checkpoints_are_that_checkpoint_bitwise(models, pico_base: Path, tmp_path: Path, dtype) -> None:
    base, one = cast(pico_base, tmp_path / "base", dtype), cast(models[0], tmp_path / "one", dtype)
    run = training(tmp_path / "run", [one] * 3)
    out, _ = merged(tmp_path / "out", base, {run: 1.0}, method=METHOD)
    assert same(out, one)


def test_adapters_average_is_the_mean_of_the_products(adapters, pico_base: Path, tmp_path: Path) -> None:
    """Not of the factors: the mean B times the mean A is another matrix."""
    run = training(tmp_path / "run", adapters)
    out, _ = merged(tmp_path / "out", pico_base, {run: 1.0}, method=METHOD)
    base, made = tensors(pico_base), tensors(out)
    name = "model.layers.0.self_attn.q_proj"
    stored = [load_file(each / WEIGHTS) for each in adapters]
    a, b = ([each[f"base_model.model.{name}.lora_{side}.weight"].double() for each in stored] for side in "AB")
    products = 2.0 * torch.stack([right @ left for left, right in zip(a, b, strict=True)]).mean(0)
    factors = 2.0 * torch.stack(b).mean(0) @ torch.stack(a).mean(0)
    delta = made[f"{name}.weight"].double() - base[f"{name}.weight"].double()
    assert torch.allclose(delta, products, atol=1e-6)
    assert not torch.allclose(delta, factors, atol=1e-4)
    untouched = [key for key in base if not any(part in key for part in ("q_proj", "v_proj", "down_proj"))]
    assert all(made[key].equal(base[key]) for key in untouched)


def test_equal_adapters_are_that_adapter_baked(adapters, pico_base: Path, tmp_path: Path) -> None:
    run = training(tmp_path / "run", [adapters[0]] * 3)
    out, _ = merged(tmp_path / "out", pico_base, {run: 1.0}, method=METHOD)
    baked, _ = merged(tmp_path / "baked", pico_base, {adapters[0]: 1.0})
    assert same(out, baked)


@pytest.mark.parametrize("kind", ["models", "adapters"])
def test_order_of_the_training_steps_changes_rounding_only(kind, request, pico_base: Path, tmp_path: Path) -> None:
    steps = request.getfixturevalue(kind)
    forward, _ = merged(tmp_path / "a", pico_base, {training(tmp_path / "one", steps): 1.0}, method=METHOD, threads=1)
    backward, _ = merged(
        tmp_path / "b", pico_base, {training(tmp_path / "two", steps[::-1]): 1.0}, method=METHOD, threads=3
    )
    left, right = tensors(forward), tensors(backward)
    assert all(torch.allclose(left[name], right[name], atol=1e-6) for name in left)


@pytest.mark.parametrize("last", [None, 3])
def test_run_that_kept_too_few_is_refused(models, pico_base: Path, tmp_path: Path, last: int | None) -> None:
    run = training(tmp_path / "run", models[: 2 if last else 1])
    with pytest.raises(UserError, match=r"run: kept too few checkpoints for .* Train it with checkpoints: \{every: "):
        merged(tmp_path / "out", pico_base, {run: 1.0}, method=METHOD | {"last": last})


@pytest.mark.parametrize("method", [{"kind": "lora", "rank": 4}, {"kind": "full"}], ids=["lora", "full"])
def test_run_that_kept_checkpoints_is_averaged(method: dict, pico_base: Path, tmp_path: Path) -> None:
    settings = {"on": "data", "method": method, "learning_rate": 1e-2, "batch_size": 4, "schedule": "constant"}
    config = TrainConfig.model_validate(settings | {"max_steps": 5, "checkpoints": {"every": 2, "last": 3}})
    run = tmp_path / "run"
    run.mkdir()
    train(config, {"base": artifact(pico_base), "data": dataset(tmp_path / "data", varied(20))}, run)
    out, metrics = merged(tmp_path / "out", pico_base, {run: 1.0}, method=METHOD)
    assert [model["name"] for model in metrics["models"]] == ["run (step 1)", "run (step 3)", "run"]
    steps = [run / "checkpoints" / "step-000001", run / "checkpoints" / "step-000003", run]
    each = [tensors(merged(tmp_path / f"{at}", pico_base, {step: 1.0})[0]) for at, step in enumerate(steps)]
    made = tensors(out)
    assert all(torch.allclose(made[name], sum(step[name] for step in each) / 3, atol=1e-6) for name in made)


def test_notebook_function_is_the_mean() -> None:
    base, steps = torch.zeros(7), [torch.arange(7.0) + shift for shift in (0, 1, 5)]
    assert checkpoint_average(base, steps).equal(torch.arange(7.0) + 2)
