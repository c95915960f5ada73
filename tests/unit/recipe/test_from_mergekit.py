"""mergekit files as recipes: what they become, that they are sound, and that both compute the same."""

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
from pipelines.errors import UserError
from pipelines.merge.config import MergeConfig
from pipelines.merge.run import run
from pipelines.recipe.compile import compile_graph
from pipelines.recipe.from_mergekit import Translation, from_mergekit
from pipelines.recipe.load import load
from pipelines.recipe.mergekit_sources import Folder
from tests import pico

FILES = {
    "linear": """
        models:
          - {model: a/one, parameters: {weight: 1.0}}
          - {model: a/two, parameters: {weight: 0.3}}
        merge_method: linear
        dtype: float16
        """,
    "linear-of-a-base": """
        models:
          - {model: a/one}
          - {model: a/two}
        merge_method: linear
        base_model: a/base
        parameters: {weight: 0.5}
        """,
    "linear-sum": """
        models:
          - {model: a/one, parameters: {weight: 0.7}}
          - {model: a/two, parameters: {weight: 0.7}}
        merge_method: linear
        parameters: {normalize: false}
        """,
    "task-arithmetic": """
        models:
          - {model: a/base}
          - {model: a/one, parameters: {weight: 0.5, density: 0.2}}
          - {model: a/two, parameters: {weight: -0.25}}
        merge_method: task_arithmetic
        base_model: a/base
        parameters: {normalize: true, lambda: 0.8}
        """,
    "ties-of-many-densities": """
        models:
          - {model: a/one, parameters: {density: [1, 0.7, 0.1], weight: 1.0}}
          - {model: a/two, parameters: {density: 0.5, weight: [0, 0.3, 0.7, 1]}}
          - model: a/three
            parameters: {density: 0.33, weight: [{filter: mlp, value: 0.5}, {value: 0}]}
        merge_method: ties
        base_model: a/base
        parameters: {normalize: true, int8_mask: true}
        dtype: float16
        """,
    "ties": """
        models:
          - {model: a/one, parameters: {weight: 0.6}}
          - {model: a/two, parameters: {weight: [0, 0.3, 0.7, 1]}}
        merge_method: ties
        base_model: a/base
        parameters: {density: 0.3, lambda: 1.5}
        """,
    "ties-untrimmed-sum": """
        models:
          - {model: a/one, parameters: {weight: 0.6}}
          - {model: a/two, parameters: {weight: 0.5}}
        merge_method: ties
        base_model: a/base
        parameters: {normalize: false}
        """,
    "slerp": """
        slices:
          - sources:
              - {model: a/base, layer_range: [0, 2]}
              - {model: a/one, layer_range: [0, 2]}
        merge_method: slerp
        base_model: a/base
        parameters:
          t:
            - {filter: self_attn, value: [0, 0.5, 0.3, 0.7, 1]}
            - {filter: mlp, value: [1, 0.5, 0.7, 0.3, 0]}
            - value: [0.25, 0.75]
        dtype: bfloat16
        """,
    "dare": """
        models:
          - {model: a/base}
          - {model: a/one, parameters: {density: 0.53, weight: 0.4}}
          - {model: a/two, parameters: {density: 0.53, weight: 0.3}}
        merge_method: dare_ties
        base_model: a/base
        parameters: {int8_mask: true}
        dtype: bfloat16
        """,
    "della": """
        models:
          - {model: a/one, parameters: {weight: 0.5}}
          - {model: a/two, parameters: {weight: 0.5}}
        merge_method: della
        base_model: a/base
        parameters: {density: 0.7, epsilon: 0.1}
        """,
    "breadcrumbs": """
        models: [{model: a/one}, {model: a/two}]
        merge_method: breadcrumbs
        base_model: a/base
        parameters: {density: 0.6, gamma: 0.02, weight: 0.5}
        """,
    "model-stock": """
        models: [{model: a/one}, {model: a/two}, {model: a/three}]
        merge_method: model_stock
        base_model: a/base
        tokenizer_source: union
        chat_template: chatml
        """,
    "nuslerp": """
        models:
          - {model: a/one, parameters: {weight: 0.5}}
          - {model: a/two, parameters: {weight: 1.5}}
        merge_method: nuslerp
        """,
    "nuslerp-of-a-base": """
        models:
          - {model: a/one, parameters: {weight: 0.5}}
          - {model: a/two, parameters: {weight: 1.5}}
        base_model: a/base
        merge_method: nuslerp
        parameters: {nuslerp_flatten: false}
        """,
    "karcher": """
        models: [{model: a/one}, {model: a/two}, {model: a/three}]
        merge_method: karcher
        parameters: {max_iter: 20, tol: 1e-6}
        """,
    "sce": """
        models: [{model: a/one}, {model: a/two}]
        merge_method: sce
        base_model: a/base
        parameters: {select_topk: 0.6}
        """,
    "nearswap": """
        models: [{model: a/one}]
        merge_method: nearswap
        base_model: a/base
        parameters: {t: [0.001, 0.01]}
        """,
    "multislerp": """
        modules:
          default:
            models:
              - {model: a/one, parameters: {weight: 0.3}}
              - {model: a/two, parameters: {weight: 0.5}}
              - {model: a/three, parameters: {weight: [{filter: mlp, value: 0.2}, {value: 0.4}]}}
        merge_method: multislerp
        """,
    "stack": """
        slices:
          - sources: [{model: a/base, layer_range: [0, 2]}]
          - sources:
              - {model: a/one, layer_range: [0, 2], parameters: {scale: [{filter: o_proj, value: 0.0}, {value: 1.0}]}}
        merge_method: passthrough
        """,
    "stack-of-merges": """
        slices:
          - sources: [{model: a/base, layer_range: [0, 1]}, {model: a/one, layer_range: [1, 2]}]
            parameters: {t: 0.2}
          - sources: [{model: a/one, layer_range: [0, 2]}, {model: a/base, layer_range: [0, 2]}]
        merge_method: slerp
        base_model: a/base
        parameters: {t: [0.1, 0.9]}
        """,
}
"""Of every kind in mergekit's documentation, and some that are only possible."""
NAMES = ("one", "two", "three")
VECTORS_DIFFER = {"ties", "breadcrumbs", "sce", "slerp"}
"""Norms and biases are trimmed by mergekit and left whole here; and its slerp is straight below 1.8 degrees."""
RANDOM = {"dare", "della"}


def translated(text: str, layers: int | None = None) -> Translation:
    return from_mergekit(yaml.safe_load(text), "config.yaml", "recipe.yaml", lambda path: None)


def entry(text: str) -> dict[str, Any]:
    return yaml.safe_load(translated(text).text)["merge"]["merged"]


def method(text: str) -> dict[str, Any]:
    return entry(text)["method"]


@pytest.mark.parametrize("name", FILES)
def test_a_file_becomes_a_sound_recipe(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(FILES[name])
    assert main(["init", "--from-mergekit", "config.yaml", "recipe.yaml"]) == 0
    recipe = load(Path("recipe.yaml"))
    assert "merge.merged" in compile_graph(recipe).nodes
    written = yaml.safe_load(Path("recipe.yaml").read_text())
    sources = {source.config.hub for source in recipe.entries.values() if source.section == "base"}
    assert sources == {path for path in ("a/base", "a/one", "a/two", "a/three") if path in FILES[name]}
    assert written["base"] == {"hub": "a/base" if "a/base" in FILES[name] else "a/one"}
    assert main(["init", "--from-mergekit", "config.yaml", "recipe.yaml"]) == 2


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, pico_base: Path) -> dict[str, Path]:
    """Models that share half of what they add: no cosine of model_stock is negative, where ours keeps the base."""
    folder = tmp_path_factory.mktemp("models")
    common = pico.save_tuned(pico_base, folder / "common", seed=1, scale=0.008)
    tuned = {name: pico.save_tuned(common, folder / name, seed, 0.008) for seed, name in enumerate(NAMES, 2)}
    return {"a/base": pico_base} | {f"a/{name}": folder for name, folder in tuned.items()}


@pytest.mark.parametrize("name", [name for name in FILES if name not in RANDOM])
def test_the_recipe_and_mergekit_make_the_same_model(name: str, models: dict[str, Path], tmp_path: Path) -> None:
    content = yaml.safe_load(_located(FILES[name], models)) | {"dtype": "float32"}
    theirs = _by_mergekit(content, tmp_path / "theirs")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    assert main(["init", "--from-mergekit", str(tmp_path / "config.yaml"), str(tmp_path / "recipe.yaml")]) == 0
    ours = _by_recipe(tmp_path / "recipe.yaml", tmp_path / "ours")
    assert ours.keys() == theirs.keys()
    for tensor, value in ours.items():
        if value.dim() > 1 or name not in VECTORS_DIFFER:
            torch.testing.assert_close(value, theirs[tensor], atol=1e-6, rtol=1e-5, msg=f"{name}: {tensor}")


def _located(text: str, models: dict[str, Path]) -> str:
    for name, folder in models.items():
        text = text.replace(name, str(folder))
    return text


def _by_mergekit(content: dict[str, Any], out: Path) -> dict[str, torch.Tensor]:
    options = MergeOptions(write_model_card=False, copy_tokenizer=False, quiet=True, clone_tensors=True)
    content = {key: value for key, value in content.items() if key not in ("tokenizer_source", "chat_template")}
    run_merge(MergeConfiguration.model_validate(content), str(out), options)
    return _weights(out)


def _by_recipe(path: Path, out: Path) -> dict[str, torch.Tensor]:
    recipe = load(path)
    config = recipe.configs("merge")["merged"]
    assert isinstance(config, MergeConfig)
    inputs = {
        name: Artifact(name, "model", Path(found.config.path), name)
        for name, found in recipe.entries.items()
        if found.section == "base"
    }
    out.mkdir()
    run(config, inputs, out)
    return _weights(out)


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return {name: value for file in folder.glob("*.safetensors") for name, value in load_file(file).items()}


def test_defaults_of_mergekit_are_kept() -> None:
    assert method(FILES["ties"]) == {"kind": "ties", "density": 0.3, "lambda": 1.5}
    assert method(FILES["ties"].replace("density: 0.3, ", "")) == {"kind": "ties", "density": 1.0, "lambda": 1.5}
    assert method(FILES["ties-untrimmed-sum"]) == {"kind": "dare_ties", "density": 1.0}
    assert method(FILES["dare"]) == {"kind": "dare_ties", "density": 0.53}
    assert method(FILES["della"].replace(", epsilon: 0.1", "")) == {
        "kind": "della",
        "density": 0.7,
        "epsilon": 0.15,
        "elect": True,
    }
    assert method(FILES["karcher"].split("parameters")[0]) == {"kind": "karcher", "iterations": 10, "tolerance": 1e-5}
    assert method(FILES["sce"].split("parameters")[0]) == {"kind": "sce", "density": 1.0}


def test_weights_are_divided_where_normalize_says_so() -> None:
    weights = [one.get("weight", 1.0) for one in entry(FILES["task-arithmetic"])["models"]]
    assert weights == [2.0, -1.0]
    plain = FILES["task-arithmetic"].replace("normalize: true, ", "")
    assert [one.get("weight", 1.0) for one in entry(plain)["models"]] == [0.5, -0.25]


def test_lists_hold_for_layers_and_their_first_number_for_the_rest() -> None:
    assert entry(FILES["ties"])["models"][1]["weight"] == {"*.[0-9]*.*": [0, 0.3, 0.7, 1], "*": 0}
    assert method(FILES["slerp"])["t"] == {
        "*self_attn*": [0, 0.5, 0.3, 0.7, 1],
        "*mlp*": [1, 0.5, 0.7, 0.3, 0],
        "*.[0-9]*.*": [0.25, 0.75],
        "*": 0.25,
    }


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("density: 0.3", "density: 0.3, normalize: false"), "what agrees is added up, and our ties takes the mean"),
        (("density: 0.3", "density: 0.3, rescale: true"), "rescale: true"),
        (("weight: 0.6", "weight: 0.6, density: 0.1"), "every model has a density of its own"),
    ],
)
def test_what_we_have_not_goes_through_mergekit_and_says_why(change: tuple[str, str], why: str) -> None:
    text = FILES["ties"].replace(*change)
    assert entry(text)["engine"] == "mergekit" and method(text)["name"] == "ties"
    assert why in " ".join(translated(text).text.replace("\n#  ", "").split())


def test_nothing_is_left_out_silently() -> None:
    content = yaml.safe_load(FILES["model-stock"]) | {
        "residual": 1,
        "tokenizer": {"pad_to_multiple_of": 8, "tokens": {"x": {}}},
        "parameters": {"filter_wise": False, "weight": 2},
    }
    notes = "\n".join(from_mergekit(content, "c.yaml", "r.yaml", lambda path: None).notes)
    for part in ("tokenizer source union", "chat_template", "residual", "pad_to_multiple_of", "tokens", "weight:"):
        assert part in notes
    assert "layer_range [0, 2] is taken to be all layers" in "\n".join(translated(FILES["slerp"]).notes)
    assert "the density" in "\n".join(translated(FILES["task-arithmetic"]).notes)
    assert "a/base is merged too" in "\n".join(translated(FILES["linear-of-a-base"]).notes)


def test_a_slice_of_some_layers_stays_a_stack(models: dict[str, Path]) -> None:
    content = yaml.safe_load(FILES["slerp"])
    made = from_mergekit(content, "c.yaml", "r.yaml", lambda path: Folder(path, 3))
    assert "slices:" in made.text and "engine: mergekit" in made.text


def test_models_are_folders_hub_names_and_revisions() -> None:
    content = yaml.safe_load(FILES["linear"].replace("a/one", "a/one@v2").replace("a/two", "./two"))
    written = yaml.safe_load(from_mergekit(content, "c.yaml", "r.yaml", lambda path: None).text)
    assert written["base"] == {"hub": "a/one", "revision": "v2"}
    assert written["merge"]["merged"]["models"][1]["use"] == {"path": "./two"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("models: []", "has no merge_method"),
        ("experts: []", "is a mergekit-moe file"),
        ("merge_method: dare-ties", "Did you mean 'dare_ties'?"),
        ("merge_method: ties", "exactly one of models, slices and modules"),
        (FILES["ties"].replace("base_model: a/base", ""), "ties needs a base_model"),
        (FILES["ties"].replace("{weight: 0.6}", "{}"), "a/one: mergekit's ties needs a weight"),
        (FILES["ties"].replace("weight: 0.6", "weight: [{filter: mlp, value: 1}]"), "needs a weight for every tensor"),
        (FILES["ties"].replace("weight: 0.6", "weight: -0.6"), "divides the sign of a negative weight away"),
        (FILES["ties"].replace("weight: 0.6", "weight: heavy"), "must be a number (got heavy)"),
        (FILES["ties"].replace("density: 0.3", "normalize: often"), "normalize: must be true or false"),
        (FILES["linear"].replace("0.3", "-1.0"), "the sum of the weights, which is 0"),
        (FILES["linear"].replace("a/two", "a/one"), "lists a model twice"),
        (FILES["linear"].replace("a/two", "a/two+b/lora"), "names an adapter on the hub"),
        (FILES["linear"].replace("a/two", "a/two+b/lora@v2"), "hf download b/lora --revision v2 --local-dir b/lora"),
        (FILES["linear"].replace("a/two", "a/two+./l+./m"), "has more than one adapter"),
        (
            FILES["ties"].replace("a/two", "a/two+./lora"),
            "models.1.model: puts an adapter on another model than a/base",
        ),
        (
            FILES["ties"].replace("a/two", "a/base@v2+./lora"),
            "puts an adapter on another model than a/base (got a/base@v2",
        ),
        (FILES["ties"].replace("a/base", "a/base+./lora"), "base_model: is a model with an adapter on it"),
        (FILES["linear"].replace("a/one", "a/one+./l").replace("a/two", "a/two+./m"), "on another model than a/one"),
        (FILES["stack-of-merges"].replace("a/one", "a/one+./lora"), "slices.0.sources.1.model: puts"),
        (FILES["nearswap"].replace("t: [0.001, 0.01]", ""), "needs the parameter 't'"),
        (FILES["slerp"].replace("base_model: a/base", "base_model: a/two"), "lack the base_model among their sources"),
        (
            FILES["multislerp"].replace("modules:", "modules:\n          vision: {models: [{model: a/one}]}"),
            "merges the modules of a model differently",
        ),
    ],
    ids=lambda value: "" if "\n" in value else value[:30],
)
def test_what_cannot_be_a_recipe_is_said_in_one_line(text: str, says: str) -> None:
    with pytest.raises(UserError) as refused:
        translated(text)
    assert says in str(refused.value) and "\n" not in str(refused.value)
    assert str(refused.value).startswith(("config.yaml", "parameters"))
