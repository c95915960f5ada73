"""Loading refuses what transformers would load half: missing weights, other shapes, tokenizers of their own mind."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipelines.errors import UserError
from pipelines.hf.models import load_model, load_tokenizer


@pytest.fixture
def folder(pico_base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pico_base, tmp_path / "model"))


def save(folder: Path, **changes: torch.Tensor | None) -> None:
    """Change tensors; None removes one."""
    tensors = {
        name: value for name, value in (load_file(folder / "model.safetensors") | changes).items() if value is not None
    }
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def test_model_is_in_eval_mode_and_of_its_own_dtype(folder: Path):
    model = load_model(folder, device="cpu")
    assert not model.training
    assert model.dtype == torch.float32


@pytest.mark.parametrize("dtype", ["bfloat16", torch.bfloat16])
def test_model_is_cast_when_asked(folder: Path, dtype: str | torch.dtype):
    assert load_model(folder, dtype, "cpu").dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["model.layers.1.self_attn.o_proj.weight", "model.norm.weight"])
def test_model_missing_weight_is_refused(folder: Path, name: str):
    save(folder, **{name: None})
    with pytest.raises(UserError, match=f"lacks weights that its config asks for: 1 .got {name}"):
        load_model(folder, device="cpu")


def test_model_missing_tied_embedding_is_refused(folder: Path):
    save(folder, **{"model.embed_tokens.weight": None})
    with pytest.raises(UserError, match="lacks weights that its config asks for: 2"):
        load_model(folder, device="cpu")


def test_model_missing_untied_head_is_refused(folder: Path):
    config = json.loads((folder / "config.json").read_text()) | {"tie_word_embeddings": False}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"lacks weights .* \(got lm_head.weight\)"):
        load_model(folder, device="cpu")


def test_model_weight_of_another_shape_is_refused(folder: Path):
    save(folder, **{"model.norm.weight": torch.ones(31)})
    with pytest.raises(UserError, match=r"weights of other shapes .*model.norm.weight"):
        load_model(folder, device="cpu")


def test_model_unknown_weight_is_refused(folder: Path):
    save(folder, **{"model.layers.7.mlp.up_proj.weight": torch.ones(64, 32)})
    with pytest.raises(UserError, match=r"weights that its config does not know: 1 .*layers.7"):
        load_model(folder, device="cpu")


def test_model_prefixed_weights_are_refused(folder: Path):
    tensors = {f"base_model.model.{name}": value for name, value in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="lacks weights that its config asks for"):
        load_model(folder, device="cpu")


def test_tokenizer_class_that_ignores_its_file_is_refused(folder: Path):
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tokenizer_class": "GPT2Tokenizer"}))
    with pytest.raises(UserError, match=r"class GPT2Tokenizer does not follow tokenizer.json \(got pre_tokenizer\)"):
        load_tokenizer(folder)


def test_tokenizer_splits_digits_as_its_file_says(folder: Path):
    assert load_tokenizer(folder)("12").tokens() == ["1", "2"]
