"""What transformers 4, in its own environment, says of folders: of ours, and of some that it misreads."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from pipelines.errors import UserError
from pipelines.hf.models import load_model, load_tokenizer
from pipelines.serving.environments import Environment
from pipelines.serving.look.fresh import Reloaded
from pipelines.serving.look.parity import logits, plain_ids, prompt_ids
from pipelines.serving.look.transformers4 import disagreements, folders_in_transformers4, in_transformers4
from tests.needed import needs

NAME = "PreTrainedTokenizerFast"


@pytest.fixture(scope="session")
def environment() -> Environment:
    return needs("transformers4")


@pytest.fixture
def folder(pico_base: Path, tmp_path: Path) -> Path:
    """As transformers 5 saves it, with a tokenizer class that both versions know."""
    folder = Path(shutil.copytree(pico_base, tmp_path / "folder"))
    edit(folder / "tokenizer_config.json", tokenizer_class=NAME)
    return folder


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def reloaded(folder: Path) -> Reloaded:
    prompts = prompt_ids(words := load_tokenizer(folder))
    model = load_model(folder, device="cpu")
    facts = {
        "prompts": prompts, "plain": plain_ids(words), "template": words.chat_template, "dtype": "float32",
        "architecture": "LlamaForCausalLM", "tied": True,
    }  # fmt: skip
    return Reloaded(facts, logits(model, prompts))


@pytest.mark.slow
def test_transformers4_reads_files_that_suit_both(folder: Path, environment: Environment, tmp_path: Path):
    before, bent = reloaded(folder), Path(shutil.copytree(folder, tmp_path / "bent"))
    config = json.loads((bent / "config.json").read_text())
    edit(bent / "config.json", rope_parameters=config["rope_parameters"] | {"rope_theta": 500000.0})
    one, other = folders_in_transformers4(environment, {folder: before.facts["prompts"], bent: before.facts["prompts"]})
    assert disagreements(before, one, "folder") == []
    assert "computes other logits" in str(*disagreements(reloaded(bent), other, "bent"))


@pytest.mark.slow
def test_transformers4_is_told_of_a_tokenizer_class_that_it_lacks(folder: Path, environment: Environment):
    edit(folder / "tokenizer_config.json", tokenizer_class="TokenizersBackend")
    with pytest.raises(UserError, match=r"transformers 4 cannot load it whole.*TokenizersBackend does not exist"):
        in_transformers4(environment, folder, [[1, 2]])


def test_disagreements_name_what_differs():
    facts = {"prompts": [[1]], "plain": [[1]], "template": "a", "dtype": "float32", "architecture": "x", "tied": True}
    before = Reloaded(facts, [torch.ones(1, 4)])
    assert disagreements(before, before, "f") == []
    found = disagreements(before, Reloaded(facts | {"template": "b"}, [torch.ones(1, 4) * 1.1]), "f")
    assert [problem.what for problem in found] == [
        "transformers 4 reads another template",
        "transformers 4 computes other logits",
    ]
