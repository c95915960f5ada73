"""Real GGUF files, loaded by a real llama.cpp, of a pico Llama whose rows are long enough for k-quants."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import pre_tokenizers
from transformers import PreTrainedTokenizerFast

from pipelines.errors import UserError
from pipelines.hf.models import load_tokenizer
from pipelines.quantize.checked import judged
from pipelines.quantize.config import GGUF
from pipelines.quantize.gguf import convert
from pipelines.quantize.gguf_served import TOLERANCES, checked, look
from pipelines.quantize.made import Made
from pipelines.serving.environments import Environment, find
from tests import pico

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find("gguf") is None, reason="the environment 'gguf' is not installed"),
]
ROWS = {"hidden_size": 256, "intermediate_size": 512, "initializer_range": 0.1}
"""Rows that blocks of 256 fit, and weights large enough to have opinions."""


def environment() -> Environment:
    found = find("gguf")
    assert found is not None
    return found


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = pico.save_model(tmp_path_factory.mktemp("gguf") / "model", seed=0, dtype=torch.bfloat16, **ROWS)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    (folder / "LICENSE").write_text("Do as you like.\n")
    return folder


@pytest.fixture(scope="module")
def made(export: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Made, Path]:
    out = tmp_path_factory.mktemp("made") / "gguf_q4_k_m"
    return convert(export, "gguf_q4_k_m", out), out


def changed(export: Path, folder: Path) -> Path:
    shutil.copytree(export, folder)
    return folder


def test_convert_writes_all_that_llama_cpp_and_ollama_need(made: tuple[Made, Path]) -> None:
    result, out = made
    (file,) = out.glob("*.gguf")
    assert {path.name for path in out.iterdir()} == {file.name, "Modelfile", "README.md", "SERVING.json", "LICENSE"}
    assert {path.stat().st_mode & 0o777 for path in out.iterdir()} == {0o644}
    assert (out / "Modelfile").read_text().startswith(f"FROM ./{file.name}\n")
    assert 'PARAMETER stop "<|im_end|>"' in (out / "Modelfile").read_text()
    serving = json.loads((out / "SERVING.json").read_text())
    assert serving["verified"] == {check.name: check.saw for check in result.checks}
    assert result.tokens_per_second and result.memory_bytes
    assert {finding.rule for finding in result.warnings} <= {"quantised-loss"}  # weights at random bear four bits badly


def test_convert_of_q4_k_m_writes_the_mixture(made: tuple[Made, Path], export: Path) -> None:
    (file,) = made[1].glob("*.gguf")
    reader = pytest.importorskip("gguf").GGUFReader(file)
    types = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert types["token_embd.weight"] == types["blk.1.ffn_down.weight"] == "Q6_K"
    assert types["blk.0.attn_q.weight"] == types["blk.0.attn_v.weight"] == "Q4_K"
    assert types["blk.0.attn_norm.weight"] == "F32"
    facts = {name: reader.fields[f"general.{name}"].contents() for name in ("file_type", "quantization_version")}
    assert facts == {"file_type": 15, "quantization_version": 2}
    assert reader.fields["general.license"].contents() == "mit"


def test_convert_twice_writes_the_same_bytes(made: tuple[Made, Path], export: Path, tmp_path: Path) -> None:
    convert(export, "gguf_q4_k_m", tmp_path / "again")
    (file,) = made[1].glob("*.gguf")
    assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("level", [level for level in GGUF if level != "gguf_q4_k_m"])
def test_convert_at_every_level_stays_within_its_tolerance(export: Path, tmp_path: Path, level: str) -> None:
    result = convert(export, level, tmp_path / level)
    assert result.kl is not None and result.kl <= TOLERANCES.get(level, 0.1)
    assert result.agreement is not None and result.agreement > 0.5


def asked(made: tuple[Made, Path], folder: Path) -> list[Any]:
    """What is told of the file that was made, held against another folder."""
    (file,) = made[1].glob("*.gguf")
    tokenizer = load_tokenizer(folder)
    seen = look(environment(), file, folder, tokenizer, None)
    return [*checked(seen, "gguf_q4_k_m", folder, tokenizer), *judged(seen.distance, "gguf_q4_k_m")]


def test_checked_against_an_altered_template_refuses(made: tuple[Made, Path], export: Path, tmp_path: Path) -> None:
    folder = changed(export, tmp_path / "other")
    (folder / "chat_template.jinja").write_text(pico.CHATML.replace("message['content']", "message['content'] + '!'"))
    with pytest.raises(UserError, match="another prompt than the chat template") as caught:
        asked(made, folder)
    assert "another tokenizer.chat_template" in str(caught.value)


def test_checked_against_another_tokenizer_refuses(made: tuple[Made, Path], export: Path, tmp_path: Path) -> None:
    folder = changed(export, tmp_path / "other")
    told = json.loads((folder / "tokenizer.json").read_text())
    words = told["model"]["vocab"]
    words["a"], words["b"] = words["b"], words["a"]
    (folder / "tokenizer.json").write_text(json.dumps(told))
    with pytest.raises(UserError, match="reads text as other tokens"):
        asked(made, folder)


def test_checked_against_other_weights_refuses(made: tuple[Made, Path], export: Path, tmp_path: Path) -> None:
    folder = pico.save_model(tmp_path / "other", seed=7, **ROWS)
    with pytest.raises(UserError, match="further from the export than a guess"):
        asked(made, folder)


def test_checked_against_another_end_refuses(made: tuple[Made, Path], export: Path, tmp_path: Path) -> None:
    folder = changed(export, tmp_path / "other")
    settings = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps(settings | {"eos_token_id": [2, 100]}))
    with pytest.raises(UserError, match="does not stop at a stop token"):
        asked(made, folder)


def test_convert_of_an_unknown_pre_tokenizer_refuses_in_a_line(export: Path, tmp_path: Path) -> None:
    folder = changed(export, tmp_path / "other")
    words = PreTrainedTokenizerFast.from_pretrained(folder)
    words.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Punctuation(), pre_tokenizers.ByteLevel(False)]
    )
    words.save_pretrained(folder)
    with pytest.raises(UserError, match="no name for what this tokenizer does before BPE") as caught:
        convert(folder, "gguf_f16", tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_convert_of_an_unknown_architecture_refuses_in_a_line(export: Path, tmp_path: Path) -> None:
    folder = changed(export, tmp_path / "other")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["PicoForCausalLM"]}))
    with pytest.raises(UserError, match="does not know this architecture"):
        convert(folder, "gguf_f16", tmp_path / "out")


@pytest.mark.parametrize(("level", "value"), [("gguf_q4_k_m", torch.nan), ("gguf_f16", 1e6)])
def test_convert_of_weights_that_cannot_be_written_refuses(
    export: Path, tmp_path: Path, level: str, value: float
) -> None:
    folder = changed(export, tmp_path / "other")
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"][3, 5] = value
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="weights cannot be written"):
        convert(folder, level, tmp_path / "out")
