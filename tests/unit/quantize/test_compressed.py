"""The files around quantised weights."""

import json
from pathlib import Path

from pipelines.quantize.beside import say
from pipelines.quantize.compressed import dress, merged
from pipelines.serving.findings import Check


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


def test_card_and_serving_name_licence_command_and_files(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 64}')
    (tmp_path / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    say(tmp_path, tmp_path, "ship int8", "bfloat16", ["INT8 weights"], {"torch": "2"}, [Check("layers", "4")])
    text, serving = (tmp_path / "README.md").read_text(), json.loads((tmp_path / "SERVING.json").read_text())
    assert "license: apache-2.0" in text
    assert "vllm serve . --dtype bfloat16 --max-model-len 64" in text
    assert serving["verified"] == {"layers": "4"}
    assert serving["vllm"]["command"] == ["vllm", "serve", ".", "--dtype", "bfloat16", "--max-model-len", "64"]
    assert sorted(serving["files"]) == ["README.md", "config.json"]
