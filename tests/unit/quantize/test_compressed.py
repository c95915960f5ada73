"""The files around quantised weights, and what is said of the script that makes them."""

import json
import sys
import textwrap
from pathlib import Path

import pytest

from pipelines.engine.progress import PROGRESS_FILE
from pipelines.errors import UserError
from pipelines.quantize import outside
from pipelines.quantize.beside import arguments, card
from pipelines.quantize.compressed import dress, merged
from pipelines.serving.environments import Environment


def test_merged_keeps_both_spellings_and_adds_the_quantisation():
    export = {"rope_theta": 5e5, "rope_parameters": {"rope_theta": 5e5}, "dtype": "float32", "torch_dtype": "float32"}
    told = merged(export, {"dtype": "bfloat16", "quantization_config": {"quant_method": "x"}, "more": 1}, "bfloat16")
    assert told == export | {
        "dtype": "bfloat16",
        "torch_dtype": "bfloat16",
        "quantization_config": {"quant_method": "x"},
    }


def test_merged_text_config_gets_the_type_too():
    told = merged({"text_config": {"dtype": "float32", "x": 1}}, {"quantization_config": {}}, "bfloat16")
    assert told["text_config"] == {"dtype": "bfloat16", "torch_dtype": "bfloat16", "x": 1}


def test_dress_copies_the_exports_files_byte_for_byte(tmp_path: Path):
    folder, out = tmp_path / "export", tmp_path / "out"
    folder.mkdir(), out.mkdir()
    own = {
        "tokenizer.json": b"{}\r\n",
        "generation_config.json": b'{"a":1}',
        "LICENSE": b"L",
        "chat_template.jinja": b"T",
    }
    other = {"README.md": b"R", "SERVING.json": b"S", "model.safetensors": b"W", "model.safetensors.index.json": b"I"}
    for name, content in (own | other | {"config.json": b'{"model_type": "llama"}'}).items():
        (folder / name).write_bytes(content)
    (out / "config.json").write_text('{"quantization_config": {"format": "pack-quantized"}}')
    (out / "generation_config.json").write_text("{}")
    (out / "model.safetensors").write_bytes(b"Q")
    (out / "model.safetensors").chmod(0o600)
    dress(folder, out, "bfloat16")
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.name != "config.json"} == own | {
        "model.safetensors": b"Q"
    }
    config = json.loads((out / "config.json").read_text())
    assert config["quantization_config"] == {"format": "pack-quantized"}
    assert config["model_type"] == "llama"
    assert {path.stat().st_mode & 0o777 for path in out.iterdir()} == {0o644}


def test_card_names_licence_and_command():
    text = card("ship int8", ["INT8 weights"], "Apache-2.0", ["vllm", "serve", ".", "--dtype", "bfloat16"])
    assert "license: apache-2.0" in text
    assert "`vllm serve . --dtype bfloat16`" in text


def test_arguments_longest_sequence_where_the_config_says_it():
    assert arguments({"max_position_embeddings": 64}, "bfloat16") == ["--dtype", "bfloat16", "--max-model-len", "64"]
    assert arguments({}, "float16") == ["--dtype", "float16"]


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """An environment whose Python is this one, and a folder of scripts of the test's own."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    monkeypatch.setattr(outside, "SCRIPTS", tmp_path)
    return Environment("llmcompressor", tmp_path, {})


_HEAD = """
import json, os, sys
asked = json.load(open(sys.argv[1]))
answer = lambda value: json.dump(value, open(sys.argv[2], "w"))
"""


def script(folder: Path, body: str) -> str:
    (folder / "script.py").write_text(_HEAD + textwrap.dedent(body))
    return "script.py"


def test_ask_gives_the_answer_and_passes_progress_on(
    python: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(PROGRESS_FILE, str(tmp_path / "progress"))
    name = script(tmp_path, "print('chatter'); print('[3, 3]'); answer({'twice': 2 * asked['x']})")
    assert outside.ask(python, name, {"x": 4}, "parts") == {"twice": 8}
    assert json.loads((tmp_path / "progress").read_text()) == {"done": 3, "total": 3, "unit": "parts"}


def test_ask_scrubs_the_environment(python: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    seen = outside.ask(python, script(tmp_path, "answer(dict(os.environ))"), {}, "parts")
    assert not {"RANK", "PYTHONPATH"} & seen.keys()
    assert seen["PYTHONHASHSEED"] == "0"


def test_ask_script_that_gives_up_is_told_in_one_line(python: Environment, tmp_path: Path):
    name = script(tmp_path, "answer({'problem': 'ValueError: no such layer'})")
    with pytest.raises(
        UserError, match=r"llmcompressor: cannot do this \(got ValueError: no such layer\).*log"
    ) as told:
        outside.ask(python, name, {}, "parts")
    assert len(str(told.value).splitlines()) == 1


def test_ask_script_that_is_killed_or_ends_is_told(python: Environment, tmp_path: Path):
    with pytest.raises(UserError, match=r"was killed \(got signal 9\). Most likely memory ran out"):
        outside.ask(python, script(tmp_path, "os.kill(os.getpid(), 9)"), {}, "parts")
    with pytest.raises(UserError, match=r"ended \(got exit status 4\)"):
        outside.ask(python, script(tmp_path, "sys.exit(4)"), {}, "parts")
