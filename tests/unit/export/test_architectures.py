"""Every architecture, exported: the same to transformers 5 and to transformers 4, whatever each calls its settings."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file

from pipelines.export.write import write_folder
from pipelines.serving.environments import Environment
from pipelines.serving.look.fresh import Reloaded
from pipelines.serving.look.parity import compare
from pipelines.serving.look.transformers4 import disagreements, folders_in_transformers4
from tests.needed import needs
from tests.reloaded import reload
from tests.unit.export.architectures import ARCHITECTURES, save


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Path, Path]]]:
    """Every model as transformers 5 saved it, and its export."""
    root, made = tmp_path_factory.mktemp("architectures"), {}
    for name in ARCHITECTURES:
        model, out = save(root / name, name), root / f"{name}-export"
        out.mkdir()
        write_folder(model, model, out, "float32", True, 10**9)
        made[name] = (model, out)
    yield made


@pytest.fixture(scope="module")
def looks(folders: dict[str, tuple[Path, Path]]) -> dict[str, tuple[Reloaded, Reloaded]]:
    """What transformers 5 sees in both."""
    return {name: (reload(model), reload(out)) for name, (model, out) in folders.items()}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_architecture_is_the_same_in_transformers5(name: str, looks: dict[str, tuple[Reloaded, Reloaded]]):
    before, after = looks[name]
    assert before.facts == after.facts
    assert compare(before.logits, after.logits).largest == 0.0
    assert after.facts["stops"] is True


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_architecture_config_has_every_name(name: str, folders: dict[str, tuple[Path, Path]]):
    config = json.loads((folders[name][1] / "config.json").read_text())
    settings = json.loads((folders[name][1] / "tokenizer_config.json").read_text())
    assert config["dtype"] == config["torch_dtype"] == "float32"
    assert settings["model_max_length"] == 512
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert (name == "gpt2") is ("rope_theta" not in config)
    if name in ("mixtral", "qwen3_moe"):
        assert config["num_experts"] == config["num_local_experts"] == 4


@pytest.mark.parametrize(("name", "expert"), [("mixtral", "w1"), ("qwen3_moe", "up_proj"), ("deepseek_v3", "up_proj")])
def test_architecture_experts_are_stored_one_by_one(name: str, expert: str, folders: dict[str, tuple[Path, Path]]):
    """As vLLM and transformers 4 read them; transformers 5 holds them as one tensor in memory."""
    stored = load_file(folders[name][1] / "model.safetensors")
    mine = [key for key in stored if f".1.{expert}.weight" in key]
    assert mine
    assert all(stored[key].ndim == 2 for key in mine)


@pytest.fixture(scope="module")
def environment() -> Environment:
    return needs("transformers4")


@pytest.mark.slow
def test_architectures_are_the_same_in_transformers4(
    folders: dict[str, tuple[Path, Path]],
    looks: dict[str, tuple[Reloaded, Reloaded]],
    environment: Environment,
):
    asked = {out: looks[name][1].facts["prompts"] for name, (_, out) in folders.items()}
    found = folders_in_transformers4(environment, asked)
    for name, after in zip(folders, found, strict=True):
        assert disagreements(looks[name][1], after, name) == []
        assert compare(looks[name][1].logits, after.logits).largest < 1e-5


def test_architectures_feel_their_rope(folders: dict[str, tuple[Path, Path]]):
    """The comparisons above would see another base of the rotation."""
    _, out = folders["llama"]
    before = reload(out)
    path = out / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"rope_parameters": config["rope_parameters"] | {"rope_theta": 10000.0}}))
    after = reload(out)
    path.write_text(json.dumps(config))
    assert compare(before.logits, after.logits).largest > 1e-4
