"""Models with adapters on them in mergekit files: what a recipe makes of them, and that both compute the same."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
from safetensors.torch import load_file

from pipelines.cli.main import main
from pipelines.engine.stage import Artifact
from pipelines.merge.config import MergeConfig
from pipelines.merge.run import run
from pipelines.recipe.compile import compile_graph
from pipelines.recipe.from_mergekit import from_mergekit
from pipelines.recipe.load import load
from pipelines.recipe.mergekit_sources import Folder
from tests import pico
from tests.unit.merge.conftest import save_lora

FILES = {
    "task-arithmetic": """
        models:
          - {model: BASE+one, parameters: {weight: 0.7}}
          - {model: {model: BASE, lora: two}, parameters: {weight: -0.4}}
          - {model: tuned, parameters: {weight: 0.5}}
        merge_method: task_arithmetic
        base_model: BASE
        """,
    "linear": """
        models:
          - {model: tuned, parameters: {weight: 1}}
          - {model: BASE+one, parameters: {weight: 2}}
          - {model: BASE+two, parameters: {weight: 1}}
        merge_method: linear
        """,
    "slerp": """
        slices:
          - sources:
              - {model: BASE, layer_range: [0, 2]}
              - {model: BASE+one, layer_range: [0, 2]}
        merge_method: slerp
        base_model: BASE
        parameters: {t: 0.3}
        """,
    "nearswap": """
        models: [{model: BASE+one}]
        merge_method: nearswap
        base_model: BASE
        parameters: {t: 0.01}
        """,
    "stack": """
        slices:
          - sources: [{model: BASE+one, layer_range: [0, 2]}]
          - sources: [{model: BASE+two, layer_range: [1, 2]}]
        merge_method: passthrough
        """,
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    # mergekit's slerp is a straight line between models as near to each other as those of the other tests.
    pico.save_model(folder / "BASE", seed=0)
    pico.save_tuned(folder / "BASE", folder / "tuned", seed=1)
    save_lora(folder / "BASE", folder / "one", seed=1, lora_alpha=64)
    save_lora(folder / "BASE", folder / "two", seed=2, use_rslora=True)
    return folder


@pytest.mark.parametrize("name", FILES)
def test_the_recipe_and_mergekit_make_the_same_model(
    name: str, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(models)
    content = yaml.safe_load(FILES[name]) | {"dtype": "float32"}
    options = MergeOptions(
        write_model_card=False, copy_tokenizer=False, clone_tensors=True, lora_merge_cache=str(tmp_path / "cache")
    )
    run_merge(MergeConfiguration.model_validate(content), str(tmp_path / "theirs"), options)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    assert main(["init", "--from-mergekit", str(tmp_path / "config.yaml"), str(tmp_path / "recipe.yaml")]) == 0
    theirs, ours = _weights(tmp_path / "theirs"), _made(tmp_path / "recipe.yaml", tmp_path / "ours")
    assert ours.keys() == theirs.keys()
    for tensor, value in ours.items():
        torch.testing.assert_close(value, theirs[tensor], atol=1e-6, rtol=1e-5, msg=f"{name}: {tensor}")


def _made(path: Path, out: Path) -> dict[str, torch.Tensor]:
    recipe = load(path)
    compile_graph(recipe)
    config = recipe.configs("merge")["merged"]
    assert isinstance(config, MergeConfig)
    sources = {name: found.config for name, found in recipe.entries.items() if found.section == "base"}
    inputs = {
        name: Artifact(name, "adapter" if source.adapter else "model", Path(source.adapter or source.path), name)
        for name, source in sources.items()
    }
    out.mkdir()
    run(config, inputs, out)
    return _weights(out)


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return {name: value for file in folder.glob("*.safetensors") for name, value in load_file(file).items()}


def _translated(text: str) -> tuple[dict[str, Any], str]:
    """The recipe, where all paths that begin with a dot are folders here, and its notes on one line."""
    made = from_mergekit(
        yaml.safe_load(text), "config.yaml", "recipe.yaml", lambda path: Folder(path, None) if path[0] == "." else None
    )
    return yaml.safe_load(made.text), " ".join(made.notes)


def test_the_base_is_what_the_adapters_are_on_where_none_is_named() -> None:
    written, notes = _translated(
        "{merge_method: linear, parameters: {weight: 1}, models: [{model: ./t}, {model: a/x+./l}, {model: a/x}]}"
    )
    assert written["base"] == {"hub": "a/x"}
    uses = [one["use"] for one in written["merge"]["merged"]["models"]]
    assert uses == [{"path": "./t"}, {"adapter": "./l"}, "base"]
    assert "without that rounding" in notes and "a/x gives config and tokenizer" in notes


def test_an_adapter_on_the_base_by_another_path_is_on_the_base() -> None:
    text = "{merge_method: slerp, base_model: ./x, parameters: {t: 1}, models: [{model: ./y/../x+./l@v1}]}"
    folders = {"./x": Folder("x", 2), "./y/../x": Folder("x", 2), "./l": Folder("l", None)}
    made = from_mergekit(yaml.safe_load(text), "config.yaml", "recipe.yaml", folders.get)
    assert yaml.safe_load(made.text)["merge"]["merged"]["models"] == [{"use": {"adapter": "l"}}]
    assert "./l@v1: a folder has no revision" in made.notes


def test_an_adapter_that_is_nowhere_is_said() -> None:
    written, notes = _translated(
        "{merge_method: ties, base_model: a/x, parameters: {weight: 1}, models: [{model: a/x+l}]}"
    )
    assert written["merge"]["merged"]["models"] == [{"use": {"adapter": "l"}}]
    assert "l: is no folder here" in notes
