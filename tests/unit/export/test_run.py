"""Exports of pico models: what is shipped, what is verified, and every way in which it is refused."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipelines.engine.stage import Artifact
from pipelines.errors import UserError
from pipelines.export import answers
from pipelines.export import run as export_run
from pipelines.export.config import ExportConfig
from pipelines.export.run import run
from tests import pico
from tests.reloaded import reload

Export = Callable[..., tuple[Path, dict]]


@pytest.fixture
def base(pico_base: Path) -> Path:
    return pico_base


@pytest.fixture
def model(pico_tuned: tuple[Path, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(pico_tuned[0], tmp_path / "model"))


@pytest.fixture
def export(base: Path, tmp_path: Path) -> Export:
    def do(model: Path, base: Path = base, key: str = "k1", **settings: object) -> tuple[Path, dict]:
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        inputs = {
            "tuned": Artifact("tuned", "model", model, key),
            "base": Artifact("base", "model", base, "k0", ORIGIN),
        }
        return out / "safetensors", run(ExportConfig(model="tuned", **settings), inputs, out)

    return do


ORIGIN = {"source": "wheel pico==1.0", "notes": ["weights are 4-bit dequantised (Q4_1)"]}


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reload in this process."""
    monkeypatch.setattr(export_run, "reload", reload)


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change(folder: Path, **changes: torch.Tensor) -> None:
    save_file(load_file(folder / "model.safetensors") | changes, folder / "model.safetensors", {"format": "pt"})


def test_export_ships_a_verified_folder(model: Path, export: Export):
    (model / "LICENSE").write_text("the licence")
    (model / "README.md").write_text("---\nlicense: mit\n---\n")
    out, metrics = export(model)
    assert {path.name for path in out.iterdir()} == {
        "LICENSE", "README.md", "SERVING.json", "chat_template.jinja", "config.json", "generation_config.json",
        "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    assert {path.stat().st_mode & 0o777 for path in out.iterdir()} == {0o644}
    before, after = load_file(model / "model.safetensors"), load_file(out / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert metrics["max_abs_dlogit"] == metrics["rounding_dlogit"] == 0.0
    assert metrics["differs_from_base"] is True
    assert metrics["base_dlogit"] > 0
    assert (metrics["stops"], metrics["dtype"], metrics["files"]) == (True, "float32", 9)
    assert metrics["licence"] == "MIT"
    checks = json.loads((out.parent / "verification.json").read_text())["checks"]
    assert len(checks) == metrics["checks"] == 8
    serving = json.loads((out / "SERVING.json").read_text())
    assert serving["vllm"]["command"] == ["vllm", "serve", ".", "--dtype", "float32", "--max-model-len", "512"]
    for name, digest in serving["files"].items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    card = (out / "README.md").read_text()
    assert "license: mit" in card
    assert "weights are 4-bit dequantised (Q4_1)" in card
    assert "vllm serve . --dtype float32 --max-model-len 512" in card
    assert "Base model: wheel pico==1.0." in card
    assert "base_model" not in card, "a wheel is no repository of the hub"
    assert metrics["folder"] == "safetensors"
    assert metrics["bytes"] == sum(path.stat().st_size for path in out.iterdir())


def test_export_configs_are_read_by_both_versions(model: Path, export: Export, here: None):
    out, _ = export(model)
    config = json.loads((out / "config.json").read_text())
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 10000.0
    assert config["dtype"] == config["torch_dtype"] == "float32"
    settings = json.loads((out / "tokenizer_config.json").read_text())
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert settings["chat_template"] == (out / "chat_template.jinja").read_text() == pico.CHATML
    assert (out / "tokenizer.json").read_bytes() == (model / "tokenizer.json").read_bytes()
    words = AutoTokenizer.from_pretrained(out)
    assert words("x 12")["input_ids"] == pico.tokenizer()("x 12")["input_ids"]


def test_export_narrower_dtype_is_rounded_once_and_measured(model: Path, export: Export, here: None):
    out, metrics = export(model, dtype="bfloat16")
    before, after = load_file(model / "model.safetensors"), load_file(out / "model.safetensors")
    assert all(torch.equal(before[name].bfloat16(), after[name]) for name in before)
    assert metrics["max_abs_dlogit"] == 0.0
    assert metrics["rounding_dlogit"] > 0
    assert AutoModelForCausalLM.from_pretrained(out).dtype == torch.bfloat16


def test_export_shards_load_again(model: Path, here: None):
    inputs = {"base": Artifact("base", "model", model, "k1")}
    out = model.parent / "sharded"
    out.mkdir()
    config = ExportConfig.model_construct(model="base", base="base", dtype="keep", max_shard_size=60_000)
    run(config, inputs, out)
    assert len(list((out / "safetensors").glob("model-*.safetensors"))) == 3
    assert AutoModelForCausalLM.from_pretrained(out / "safetensors").dtype == torch.float32


def test_export_same_input_same_bytes(model: Path, export: Export, here: None):
    out, metrics = export(model)
    kept = {path.name: path.read_bytes() for path in out.iterdir()}
    shutil.rmtree(out)
    again, same = export(model)
    assert {path.name: path.read_bytes() for path in again.iterdir()} == kept
    assert same == metrics


def test_export_takes_the_licence_of_the_base(model: Path, base: Path, export: Export, here: None, tmp_path: Path):
    licensed = Path(shutil.copytree(base, tmp_path / "licensed"))
    (licensed / "LICENSE").write_text("the licence")
    (licensed / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    out, metrics = export(model, licensed)
    assert (out / "LICENSE").read_text() == "the licence"
    assert metrics["licence"] == "Apache-2.0"


def test_export_of_the_base_itself_is_not_compared_with_it(base: Path, here: None, tmp_path: Path):
    inputs = {"base": Artifact("base", "model", base, "k0", ORIGIN)}
    metrics = run(ExportConfig(model="base"), inputs, tmp_path)
    assert metrics["differs_from_base"] is False
    assert metrics["base_dlogit"] is None


@pytest.mark.parametrize("key", ["k0", "k1"])
def test_export_equal_to_the_base_is_refused(key: str, base: Path, export: Export, here: None, tmp_path: Path):
    with pytest.raises(UserError, match="the export equals the base: every logit is the same"):
        export(Path(shutil.copytree(base, tmp_path / "copy")), key=key)


def test_export_whose_change_is_rounded_away_is_refused(base: Path, export: Export, here: None, tmp_path: Path):
    rounded = Path(shutil.copytree(base, tmp_path / "rounded"))
    tensors = {name: value.bfloat16() for name, value in load_file(rounded / "model.safetensors").items()}
    save_file(tensors, rounded / "model.safetensors", {"format": "pt"})
    edit(rounded / "config.json", dtype="bfloat16")
    with pytest.raises(UserError, match="the export equals the base"):
        export(base, rounded, dtype="bfloat16")


def test_export_generation_config_without_the_end_of_turn_is_completed(model: Path, export: Export, here: None):
    edit(model / "generation_config.json", eos_token_id=0)
    out, metrics = export(model)
    assert json.loads((out / "generation_config.json").read_text())["eos_token_id"] == [0, 2]
    assert metrics["stops"] is True


def test_export_untied_head_is_kept(base: Path, export: Export, here: None, tmp_path: Path):
    untied = pico.save_model(tmp_path / "untied", seed=5, tie_word_embeddings=False)
    out, _ = export(untied)
    assert "lm_head.weight" in load_file(out / "model.safetensors")
    assert json.loads((out / "config.json").read_text())["tie_word_embeddings"] is False


def test_export_tied_head_stored_twice_is_left_out(model: Path, export: Export, here: None):
    change(model, **{"lm_head.weight": load_file(model / "model.safetensors")["model.embed_tokens.weight"].clone()})
    out, _ = export(model)
    assert "lm_head.weight" not in load_file(out / "model.safetensors")


def test_export_tied_head_that_differs_is_refused(model: Path, export: Export):
    change(model, **{"lm_head.weight": torch.randn(398, 32)})
    with pytest.raises(UserError, match=r"is tied by its config, but lm_head.weight differs from the embedding"):
        export(model)


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_export_broken_weight_is_refused(model: Path, export: Export, value: float):
    change(model, **{"model.norm.weight": torch.full((32,), value)})
    with pytest.raises(UserError, match=r"model.norm.weight: holds NaN or infinite values"):
        export(model)


def test_export_overflowing_logits_are_refused(model: Path, export: Export, here: None):
    torch.manual_seed(0)
    huge = {
        name: value
        for name, value in load_file(model / "model.safetensors").items()
        if ".mlp." in name or "layernorm" in name
    }
    change(model, **{name: 9e7 * torch.randn(value.shape).sign() for name, value in huge.items()})
    with pytest.raises(UserError, match="logits hold NaN or infinite values"):
        export(model)


def test_export_missing_weight_is_refused(model: Path, export: Export, here: None):
    tensors = load_file(model / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, model / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"are missing: .*layers.1.mlp.up_proj.weight"):
        export(model)


def test_export_prefixed_weights_are_refused(model: Path, export: Export, here: None):
    tensors = {f"base_model.model.{name}": value for name, value in load_file(model / "model.safetensors").items()}
    save_file(tensors, model / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="named with the prefix of a wrapper"):
        export(model)


def test_export_quantised_leftover_is_refused(model: Path, export: Export):
    edit(model / "config.json", quantization_config={"quant_method": "bitsandbytes"})
    with pytest.raises(UserError, match=r"holds quantised weights \(got bitsandbytes\)"):
        export(model)


def test_export_other_template_is_refused(model: Path, export: Export):
    (model / "chat_template.jinja").write_text(pico.CHATML + " ")
    with pytest.raises(UserError, match="its chat template is not the base's"):
        export(model)


def test_export_tokenizer_that_truncates_is_refused(model: Path, export: Export):
    truncation = {"direction": "Right", "max_length": 64, "strategy": "LongestFirst", "stride": 0}
    edit(model / "tokenizer.json", truncation=truncation)
    with pytest.raises(UserError, match=r"its tokenizer is not the base's \(got truncation\)"):
        export(model)


def test_export_tokenizer_larger_than_the_model_is_refused(model: Path, export: Export):
    content = json.loads((model / "tokenizer.json").read_text())
    content["added_tokens"].append(content["added_tokens"][0] | {"id": 398, "content": "<new>"})
    (model / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="the tokenizer has ids up to 398, the model rows for 398"):
        export(model)


def test_export_rounding_that_ruins_the_model_is_refused(model: Path, export: Export, here: None, monkeypatch):
    monkeypatch.setattr(answers, "_TOO_MUCH", 1e-6)
    with pytest.raises(UserError, match=r"export.dtype: bfloat16 changes the logits too much"):
        export(model, dtype="bfloat16")


def test_export_tokenizer_of_another_model_is_refused(model: Path, export: Export):
    content = json.loads((model / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    one, other = list(vocabulary)[-2:]
    content["model"]["vocab"] = vocabulary | {one: vocabulary[other], other: vocabulary[one]}
    (model / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"its tokenizer is not the base's \(got model\)"):
        export(model)


def test_export_without_room_on_the_disk_is_refused(model: Path, export: Export, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6, 1000))
    with pytest.raises(UserError, match="not enough disk space"):
        export(model)


def test_export_warnings_name_no_place_of_this_machine(model: Path, export: Export, here: None):
    out, metrics = export(model)
    found = (out.parent / "verification.json").read_text()
    warnings = json.loads(found)["warnings"]
    assert len(warnings) == metrics["warnings"] > 0
    assert set(warnings[0]) == {"rule", "where", "what", "got", "fix"}
    assert str(out.parent) not in found
