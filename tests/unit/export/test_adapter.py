"""Exports with the adapter beside the merged weights: what is shipped, what is compared, what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipelines.engine.stage import Artifact
from pipelines.errors import UserError
from pipelines.export import run as export_run
from pipelines.export.config import ExportConfig
from pipelines.export.run import run
from tests.reloaded import reload

HUB = {"source": "hub owner/base@0123456789abcdef", "licence": "Apache-2.0"}
Export = Callable[..., tuple[Path, dict[str, Any]]]


@pytest.fixture
def base(pico_base: Path, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(pico_base, tmp_path / "base"))
    (folder / "LICENSE").write_text("the licence")
    return folder


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    return trained(base, tmp_path / "adapter")


@pytest.fixture
def model(base: Path, adapter: Path, tmp_path: Path) -> Path:
    return merged(base, adapter, tmp_path / "model")


@pytest.fixture
def export(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Export:
    """Without a process of its own: `test_run` has one."""

    def do(model: Path, adapter: Path, metrics: dict[str, Any] | None = None, **settings: Any) -> tuple[Path, dict]:
        origin = settings.pop("origin", HUB)
        out = tmp_path / "out"
        out.mkdir()
        inputs = {
            "merge.baked": Artifact("merge.baked", "model", model, "k1", metrics or {}),
            "train.tuned": Artifact("train.tuned", settings.pop("kind", "adapter"), adapter, "k2"),
            "base": Artifact("base", "model", base, "k0", origin),
        }
        config = {"model": "merge.baked", "adapter": "train.tuned", "parent": "base", "ship_adapter": True}
        return out, run(ExportConfig(**(config | settings)), inputs, out)

    monkeypatch.setattr(export_run, "reload", reload)
    return do


def trained(base: Path, folder: Path, seed: int = 0, scale: float = 0.1, **settings: Any) -> Path:
    """An adapter with random factors on the attention of a model, as PEFT saves it: with the place of its base."""
    torch.manual_seed(seed)
    lora = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", **settings)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), lora)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.copy_(scale * torch.randn(weight.shape))
    model.save_pretrained(folder)
    (folder / "README.md").unlink()
    return folder


def merged(base: Path, adapter: Path, folder: Path) -> Path:
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).merge_and_unload()
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder


def test_adapter_is_shipped_beside_the_merged_weights(model: Path, adapter: Path, export: Export):
    out, metrics = export(model, adapter)
    folder = out / "adapter"
    names = {"LICENSE", "README.md", "SERVING.json", "adapter_config.json", "adapter_model.safetensors"}
    assert {path.name for path in folder.iterdir()} == names
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}
    assert (folder / "adapter_model.safetensors").read_bytes() == (adapter / "adapter_model.safetensors").read_bytes()
    settings = json.loads((folder / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == "owner/base"
    assert settings["revision"] == "0123456789abcdef"
    assert settings["inference_mode"] is True
    assert metrics["adapter"] == {"shipped": True, "why": []}
    line = "vllm serve owner/base --dtype float32 --max-model-len 512 --enable-lora --max-lora-rank 8 "
    assert f"{line}--lora-modules tuned=." in (folder / "README.md").read_text()
    assert "base_model: owner/base" in (folder / "README.md").read_text()
    assert "shipped too, in adapter/" in (out / "safetensors" / "README.md").read_text()


def test_adapter_of_a_base_that_no_hub_has_names_a_place_for_it(model: Path, adapter: Path, export: Export):
    out, _ = export(model, adapter, origin={"source": "wheel pico==1.0"})
    card = (out / "adapter" / "README.md").read_text()
    assert "vllm serve BASE --dtype float32" in card
    assert "BASE stands for the folder of base" in card


def test_adapter_at_work_is_compared_with_the_merged_weights(model: Path, adapter: Path, export: Export):
    out, _ = export(model, adapter)
    saw = {check["name"]: check["saw"] for check in json.loads((out / "verification.json").read_text())["checks"]}
    assert 0 < saw["max |dlogit| against the adapter at work, not merged"] < 1e-4
    assert saw["max |dlogit| of the adapter against the model that it was trained from"] > 1e-2


def test_adapter_at_work_is_compared_where_it_is_not_shipped_too(model: Path, adapter: Path, export: Export):
    out, metrics = export(model, adapter, ship_adapter=False)
    assert not (out / "adapter").exists()
    assert "adapter" not in metrics
    assert "at work" in (out / "verification.json").read_text()


def test_adapter_rounded_with_its_model_is_within_rounding(model: Path, adapter: Path, export: Export):
    out, _ = export(model, adapter, dtype="bfloat16")
    assert "at work" in (out / "verification.json").read_text()


def test_adapter_that_vllm_cannot_serve_is_merged_only(base: Path, export: Export, tmp_path: Path):
    dora = trained(base, tmp_path / "dora", use_dora=True)
    out, metrics = export(merged(base, dora, tmp_path / "model"), dora)
    assert not (out / "adapter").exists()
    assert metrics["adapter"]["shipped"] is False
    assert any("DoRA" in why for why in metrics["adapter"]["why"])
    assert json.loads((out / "verification.json").read_text())["adapter"] == metrics["adapter"]
    assert "not shipped by itself" in (out / "safetensors" / "README.md").read_text()


def test_adapter_merged_into_dequantised_values_is_not_shipped(model: Path, adapter: Path, export: Export):
    seen = {"kept": "dequantised", "dequantised": {"kl": 1e-6, "max_dlogit": 0.002}, "full": {}}
    out, metrics = export(model, adapter, {"quantised": seen})
    assert metrics["adapter"]["shipped"] is False
    assert "on the 4-bit base, as the merge saw it: 0.002" in (out / "verification.json").read_text()


def test_adapter_that_is_a_model_is_not_shipped(model: Path, export: Export):
    _, metrics = export(model, model, kind="model")
    assert metrics["adapter"] == {
        "shipped": False,
        "why": ["train.tuned is no adapter: all weights were trained"],
    }


def test_adapter_of_another_model_is_refused(base: Path, export: Export, tmp_path: Path):
    """The weights are those of one adapter, and another is named."""
    one, other = (trained(base, tmp_path / f"{seed}", seed) for seed in (1, 2))
    with pytest.raises(UserError, match="the merged weights answer differently from the adapter at work"):
        export(merged(base, one, tmp_path / "model"), other)


def test_adapter_that_does_not_fit_its_parent_is_refused(model: Path, adapter: Path, export: Export):
    path = adapter / "adapter_model.safetensors"
    wide = {name: value.repeat(1, 2) if "lora_A" in name else value for name, value in load_file(path).items()}
    save_file(wide, path, {"format": "pt"})
    with pytest.raises(UserError, match="does not fit the model that it is put on"):
        export(model, adapter)


def test_adapter_that_changes_nothing_is_refused(model: Path, base: Path, export: Export, tmp_path: Path):
    idle = trained(base, tmp_path / "idle", scale=0.0)
    with pytest.raises(UserError, match="changes nothing"):
        export(model, idle, ship_adapter=False)


def test_adapter_export_same_input_same_bytes(model: Path, adapter: Path, export: Export):
    out, metrics = export(model, adapter)
    kept = {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert not any(str(out.parent).encode() in content for content in kept.values())
    shutil.rmtree(out)
    again, same = export(model, adapter)
    assert {path.relative_to(again): path.read_bytes() for path in again.rglob("*") if path.is_file()} == kept
    assert same == metrics
