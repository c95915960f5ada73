"""Adapters from elsewhere."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from safetensors.numpy import save_file

from pipelines.base.check import check
from pipelines.base.config import STAGE, BaseConfig
from pipelines.base.run import run


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "lora"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4, "base_model_name_or_path": "org/base"}')
    save_file({"lora_A": np.ones((4, 8), np.float32)}, folder / "adapter_model.safetensors")
    (folder / "optimizer.pt").write_bytes(b"not needed")
    return folder


def config(folder: Path, **fields: str) -> BaseConfig:
    return BaseConfig.model_validate({"adapter": str(folder)} | fields)


def test_adapter_is_copied_without_what_it_does_not_need(adapter: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    facts = run(config(adapter), {}, out)
    assert sorted(path.name for path in out.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert facts["base_model_name_or_path"] == "org/base" and facts["source"] == "adapter lora"
    assert STAGE.kind(config(adapter)) == "adapter" and not check(config(adapter))


def test_folder_that_is_no_adapter_is_refused(adapter: Path, tmp_path: Path) -> None:
    assert "no such folder" in check(config(tmp_path / "nowhere"))[0].what
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    problem = check(config(adapter))[0]
    assert problem.got == "adapter_model.bin" and "safetensors" in problem.fix
    (adapter / "adapter_config.json").rename(adapter / "config.json")
    assert check(config(adapter))[0].fix == "Name a model with path:"


def test_adapter_that_cannot_be_read_is_refused(adapter: Path) -> None:
    weights = adapter / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert check(config(adapter))[0].what == "is truncated"
    (adapter / "adapter_config.json").write_text("{")
    assert "adapter_config.json" in check(config(adapter))[0].where


def test_adapter_takes_no_dtype(adapter: Path) -> None:
    with pytest.raises(ValidationError, match="an adapter keeps its type"):
        config(adapter, dtype="float32")
