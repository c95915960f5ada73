"""A pico model as a GGUF file, and a wheel around it: what llama.cpp's converter and a packager would have made."""

import json
import zipfile
from pathlib import Path

import gguf
import numpy as np
import torch
from safetensors.torch import load_file

from tests import pico

WHEEL = "pico_gguf-1.0-py3-none-any.whl"


def permuted(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a query or key projection as llama.cpp's rotary embedding wants them (convert_hf_to_gguf.py)."""
    half = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return half.swapaxes(1, 2).reshape(weight.shape)


def tensors(folder: Path) -> dict[str, np.ndarray]:
    """The weights of a Llama folder under their GGUF names."""
    config = json.loads((folder / "config.json").read_text())
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    found = {}
    for name, weight in load_file(folder / "model.safetensors").items():
        stem = name.removesuffix(".weight")
        value = weight.to(torch.float32).numpy()
        for part, count in heads.items():
            value = permuted(value, count) if part in stem else value
        found[f"{names.get_name(stem)}.weight"] = value
    return found


def write_gguf(folder: Path, path: Path, pre: str = "smollm", kind: str = "Q4_1") -> Path:
    """A Llama folder as GGUF with matrices quantised to `kind`, tokenizer and chat template inside."""
    config, words = json.loads((folder / "config.json").read_text()), pico.tokenizer()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("Pico")
    writer.add_license("apache-2.0")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(config["hidden_size"] // config["num_attention_heads"])
    writer.add_vocab_size(config["vocab_size"])
    _add_tokenizer(writer, words, pre)
    for name, value in tensors(folder).items():
        if value.ndim == 2 and kind != "F32":
            quantised = gguf.GGMLQuantizationType[kind]
            writer.add_tensor(name, gguf.quants.quantize(value, quantised), raw_dtype=quantised)
        else:
            writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_tokenizer(writer: gguf.GGUFWriter, words, pre: str) -> None:
    model = json.loads(words.backend_tokenizer.to_str())["model"]
    tokens = sorted(words.get_vocab(), key=words.get_vocab().get)
    special = set(pico.SPECIAL)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL if token in special else gguf.TokenType.NORMAL for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in model["merges"]])
    writer.add_bos_token_id(words.bos_token_id)
    writer.add_eos_token_id(words.eos_token_id)
    writer.add_pad_token_id(words.pad_token_id)
    writer.add_chat_template(words.chat_template)


def write_wheel(folder: Path, *files: Path) -> Path:
    """A wheel with the files in it and a licence."""
    path = folder / WHEEL
    with zipfile.ZipFile(path, "w") as archive:
        for file in files:
            archive.write(file, f"pico_gguf/{file.name}")
        archive.writestr("pico_gguf-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: pico-gguf\nVersion: 1.0\n")
        archive.writestr(
            "pico_gguf-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("pico_gguf-1.0.dist-info/LICENSE", "the licence")
    return path
