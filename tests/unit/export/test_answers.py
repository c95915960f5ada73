"""Each check, on an export that was damaged after it was written."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipelines.errors import UserError
from pipelines.export import answers, written
from pipelines.export.write import write_folder
from pipelines.hf.models import load_tokenizer
from pipelines.serving.look.child import look
from pipelines.serving.look.fresh import Reloaded
from pipelines.serving.look.parity import folder_logits, prompt_ids


@pytest.fixture
def model(pico_tuned: tuple[Path, Path]) -> Path:
    return pico_tuned[0]


@pytest.fixture
def out(model: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    write_folder(model, model, folder, "float32", True, 10**9)
    return folder


def damage(folder: Path, **changes: torch.Tensor) -> None:
    save_file(load_file(folder / "model.safetensors") | changes, folder / "model.safetensors", {"format": "pt"})


def test_files_intact_pass(model: Path, out: Path):
    assert written.same_files(model, out).saw == "equal"
    assert written.same_weights(model, out, ()).saw.endswith(" tensors")


def test_files_template_changed_is_refused(model: Path, out: Path):
    (out / "chat_template.jinja").write_text("{{ messages }}")
    with pytest.raises(UserError, match="the chat template changed"):
        written.same_files(model, out)


def test_files_tokenizer_changed_is_refused(model: Path, out: Path):
    with (out / "tokenizer.json").open("a") as file:
        file.write("\n")
    with pytest.raises(UserError, match=r"tokenizer.json changed"):
        written.same_files(model, out)


def test_weights_one_value_changed_is_refused(model: Path, out: Path):
    name = "model.layers.0.mlp.up_proj.weight"
    weight = load_file(out / "model.safetensors")[name]
    weight[5, 5] += 1e-6
    damage(out, **{name: weight})
    with pytest.raises(UserError, match=f"{name} does not hold the model's values"):
        written.same_weights(model, out, ())


def test_weights_extra_tensor_is_refused(model: Path, out: Path):
    damage(out, extra=torch.ones(1))
    with pytest.raises(UserError, match=r"holds other tensors than the model \(got extra\)"):
        written.same_weights(model, out, ())


def test_weights_other_shape_is_refused(model: Path, out: Path):
    damage(out, **{"model.norm.weight": torch.ones(2, 16)})
    with pytest.raises(UserError, match=r"model.norm.weight has another shape"):
        written.same_weights(model, out, ())


def test_facts_of_the_fresh_process_must_agree(model: Path, out: Path, tmp_path: Path):
    facts = look(out, tmp_path)
    assert answers.same_facts(model, out, "float32", True, facts).saw == "LlamaForCausalLM"
    for name, value in {"prompts": [[1]], "template": "x", "dtype": "bfloat16", "tied": False}.items():
        with pytest.raises(UserError, match=f"the reloaded {name} is not what was exported"):
            answers.same_facts(model, out, "float32", True, facts | {name: value})


def test_ends_without_the_end_of_turn_is_refused(out: Path, tmp_path: Path):
    path = out / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": 0}))
    with pytest.raises(UserError, match=r"generation does not end at the end of a turn \(got token 2\)"):
        answers.ends(out, look(out, tmp_path))


def test_parity_with_another_model_is_refused(pico_tuned: tuple[Path, Path], out: Path):
    prompts = prompt_ids(load_tokenizer(out))
    after = Reloaded({"prompts": prompts}, folder_logits(out, prompts, "float32"))
    assert answers.parity(pico_tuned[0], "float32", after).saw == 0.0
    with pytest.raises(UserError, match="answers differently from the model"):
        answers.parity(pico_tuned[1], "float32", after)


def test_parity_allows_another_order_of_sums_and_no_more(pico_tuned: tuple[Path, Path], out: Path):
    prompts = prompt_ids(load_tokenizer(out))
    exact = folder_logits(out, prompts, "float32")
    summed_otherwise = [row * (1 + 1e-5) for row in exact]
    assert answers.parity(pico_tuned[0], "float32", Reloaded({"prompts": prompts}, summed_otherwise)).saw > 0
    with pytest.raises(UserError, match="answers differently from the model"):
        answers.parity(pico_tuned[0], "float32", Reloaded({"prompts": prompts}, [row * 1.01 for row in exact]))
