"""Every way to merge, from one recipe, on pico models."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from pipelines.merge.kinds import Method
from pipelines.recipe.shape import kinds, options
from tests.e2e import project

HEAD = """
burnish: 1
name: merges
base: {path: base}
data:
  chats: {source: {files: chats.jsonl}, format: messages, split: {dev: 0.25}, max_length: 256}
train:
  one: {on: chats, method: {kind: lora, rank: 4}, max_steps: 4, batch_size: 4, learning_rate: 1.0e-2, seed: 1}
  two: {on: chats, method: {kind: lora, rank: 2, rslora: true}, max_steps: 3, batch_size: 4, learning_rate: 1.0e-2}
  whole:
    on: chats
    method: {kind: full}
    max_steps: 4
    batch_size: 4
    learning_rate: 1.0e-3
    checkpoints: {every: 2, last: 2}
merge:
"""
MERGES = {
    "linear": "models: [{use: one}, {use: whole, weight: 0.5}], method: {kind: linear}, dtype: bfloat16",
    "interpolate": "models: [{use: one}], method: {kind: interpolate, alpha: [0.2, 0.9]}",
    "checkpoint_average": "models: [{use: whole}], method: {kind: checkpoint_average}",
    "task_arithmetic": "models: [{use: one}, {use: two, weight: -0.5}], method: {kind: task_arithmetic, lambda: 0.7}",
    "ties": "models: *all, method: {kind: ties, scope: global, sign: count}, shard_size: 0.2MB",
    "dare": "models: *all, method: {kind: dare}",
    "dare_ties": "models: *all, method: {kind: dare_ties, density: {'*.mlp.*': 0.3}}",
    "della": "models: *all, method: {kind: della}",
    "breadcrumbs": "models: *all, method: {kind: breadcrumbs}, post: {kind: svc}",
    "model_stock": "models: *all, method: {kind: model_stock}",
    "slerp": "models: [{use: whole}, {use: linear}], method: {kind: slerp, t: 0.3}",
    "nuslerp": "models: [{use: one}, {use: whole}], method: {kind: nuslerp}",
    "karcher": "models: *all, method: {kind: karcher}",
    "sce": "models: *all, method: {kind: sce}",
    "iso_c": "models: *all, method: {kind: iso_c}",
    "tsv_m": "models: *all, method: {kind: tsv_m}",
    "cat": "models: [{use: one}, {use: two}], method: {kind: cat}, output: adapter",
    "svd": "models: [{use: one}, {use: two}], method: {kind: svd, rank: 3}, output: adapter",
    "knots": "models: [{use: one}, {use: two}], method: {kind: knots}",
    "mergekit": "models: *all, engine: mergekit, method: {kind: mergekit, name: multislerp}",
}
ADAPTERS = ("cat", "svd")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict]]:
    folder = tmp_path_factory.mktemp("merges")
    models = "  everything: {models: &all [{use: one}, {use: two}, {use: whole}], method: {kind: linear}}\n"
    merges = "".join(f"  {name}: {{{text}}}\n" for name, text in MERGES.items())
    recipe = project.make(folder, HEAD + models + merges)
    home = folder / "home"
    ran = project.burnish(home, "run", str(recipe))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    plan = json.loads(project.burnish(home, "plan", str(recipe), "--json").stdout)
    return home, {step["name"]: step for step in plan["steps"]}


def test_recipe_has_every_method() -> None:
    every = {kind for option in options(Method) for kind in kinds(option)}
    assert every == MERGES.keys()


@pytest.mark.parametrize("name", [name for name in MERGES if name not in ADAPTERS])
def test_merge_of_a_recipe_is_a_model_that_loads(finished: tuple[Path, dict[str, dict]], name: str) -> None:
    home, steps = finished
    step = steps[f"merge.{name}"]
    assert step["state"] == "cached"
    model = AutoModelForCausalLM.from_pretrained(home / "artifacts" / f"merge-{step['key'][:12]}")
    with torch.no_grad():
        assert torch.isfinite(model(torch.tensor([[1, 2, 3]])).logits).all()


@pytest.mark.parametrize("name", ADAPTERS)
def test_merge_of_a_recipe_is_an_adapter(finished: tuple[Path, dict[str, dict]], name: str) -> None:
    home, steps = finished
    folder = home / "artifacts" / f"merge-{steps[f'merge.{name}']['key'][:12]}"
    assert {path.name for path in folder.iterdir()} >= {"adapter_config.json", "adapter_model.safetensors"}
