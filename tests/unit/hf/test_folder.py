"""Broken model folders, each refused with its own line before anything is loaded."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.hf.folder import chat_template, companions, describe, licence_of, problems


@pytest.fixture
def folder(pico_base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pico_base, tmp_path / "model"))


def says(folder: Path) -> str:
    return "\n".join(str(problem) for problem in problems(folder))


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_folder_sound_has_no_problems(folder: Path):
    assert problems(folder) == []


def test_folder_that_is_a_file_is_refused(folder: Path):
    assert says(folder / "config.json").endswith("config.json: is not a folder. Name a model folder")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("config.json", "has no config.json"),
        ("tokenizer.json", "has no tokenizer.json"),
        ("tokenizer_config.json", "has no tokenizer_config.json"),
        ("model.safetensors", "holds no safetensors weights"),
    ],
)
def test_folder_without_a_file_is_refused(folder: Path, name: str, told: str):
    (folder / name).unlink()
    assert told in says(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "generation_config.json"])
def test_folder_with_broken_json_is_refused(folder: Path, name: str):
    (folder / name).write_text("{")
    assert f"{name}: is not JSON" in says(folder)


def test_folder_without_template_is_sound(folder: Path):
    (folder / "chat_template.jinja").unlink()
    assert problems(folder) == []
    assert chat_template(folder) is None


def test_folder_adapter_is_refused(folder: Path):
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text("{}")
    assert "is an adapter, not a model" in says(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_folder_with_code_of_its_own_is_refused(folder: Path, name: str):
    edit(folder / name, auto_map={"AutoModelForCausalLM": "modeling.Own"})
    assert f"{name}: asks to run code of its own" in says(folder)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "holds quantised weights (got bitsandbytes)"),
        ({"is_encoder_decoder": True}, "is an encoder-decoder model"),
        ({"model_type": None}, "names no model_type"),
        ({"vocab_size": None}, "names no vocab_size"),
        ({"vocab_size": 300}, "the tokenizer has ids up to 397, the model rows for 300"),
        ({"eos_token_id": [2, 398]}, "eos_token_id is outside the vocabulary (got 398)"),
        ({"pad_token_id": -1}, "pad_token_id is outside the vocabulary (got -1)"),
    ],
)
def test_folder_with_wrong_config_is_refused(folder: Path, changes: dict, told: str):
    edit(folder / "config.json", **changes)
    assert told in says(folder)


def test_folder_special_token_unknown_to_the_tokenizer_is_refused(folder: Path):
    edit(folder / "tokenizer_config.json", eos_token={"content": "</s>", "special": True})
    assert "the tokenizer's eos_token is not in its vocabulary (got </s>)" in says(folder)


def test_folder_truncated_weights_and_missing_tokenizer_are_told_together(folder: Path):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    (folder / "tokenizer.json").unlink()
    told = says(folder).splitlines()
    assert len(told) == 2
    assert "has no tokenizer.json" in told[0]
    assert "model.safetensors: is truncated" in told[1]


def test_folder_named_templates_take_the_default(folder: Path):
    (folder / "chat_template.jinja").unlink()
    named = [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]
    edit(folder / "tokenizer_config.json", chat_template=named)
    assert chat_template(folder) == "d"
    edit(folder / "tokenizer_config.json", chat_template=named[:1])
    assert "has several chat templates and no default" in says(folder)


def test_companions_are_tokenizer_and_licence(folder: Path):
    for name in ("LICENSE", "NOTICE.txt", "README.md", "x.bin", "modeling.py", "licenses.py"):
        (folder / name).write_text("x")
    names = {path.name for path in companions(folder)}
    assert names == {"LICENSE", "NOTICE.txt", "chat_template.jinja", "tokenizer.json", "tokenizer_config.json"}


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: apache-2.0\n---\n", "Apache-2.0"),
        ("---\r\ntags: [a]\r\nlicense: 'llama3'\r\n---\r\n", "llama3"),
        ("# Model\nlicense: mit\n", None),
        ("---\ntags: []\n---\nlicense: mit\n", None),
    ],
)
def test_licence_is_read_from_the_front_matter(folder: Path, card: str, licence: str | None):
    (folder / "README.md").write_bytes(card.encode())
    assert licence_of(folder) == licence


def test_describe_counts_stored_parameters(folder: Path):
    facts = describe(folder)
    assert facts["parameters"] == 398 * 32 + 2 * (2 * 32 * 32 + 2 * 16 * 32 + 3 * 64 * 32 + 2 * 32) + 32
    assert (facts["dtype"], facts["vocabulary"]) == ("float32", 398)


def test_module_is_light():
    heavy = "{'torch', 'transformers', 'datasets'} & set(sys.modules)"
    code = f"import sys, pipelines.hf.folder, pipelines.base.check; print(sorted({heavy}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
