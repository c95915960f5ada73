"""Quantised folders as llm-compressor 0.14 and others write them: the right tensors, with no values worth having."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

Tensors = dict[str, torch.Tensor]
Pack = Callable[[int, int], Tensors]
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
FP8, BF16 = torch.float8_e4m3fn, torch.bfloat16


def zeros(*shape: int, dtype: torch.dtype = torch.int32) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.uint8 if dtype == FP8 else dtype).to(dtype)


def packed(bits: int = 4, group: int = 128, zero_points: bool = False) -> Pack:
    def pack(rows: int, columns: int) -> Tensors:
        found = {
            "weight_packed": zeros(rows, columns * bits // 32),
            "weight_shape": torch.tensor([rows, columns]),
            "weight_scale": zeros(rows, columns // group, dtype=BF16),
        }
        if zero_points:
            found["weight_zero_point"] = zeros(rows * bits // 32, columns // group)
        return found

    return pack


def plain(dtype: torch.dtype, scale: Callable[[int, int], tuple[int, ...]], static: bool = False) -> Pack:
    def pack(rows: int, columns: int) -> Tensors:
        inputs = {"input_scale": zeros(1, dtype=BF16)} if static else {}
        return {
            "weight": zeros(rows, columns, dtype=dtype),
            "weight_scale": zeros(*scale(rows, columns), dtype=BF16),
        } | inputs

    return pack


def weights(**values: Any) -> dict[str, Any]:
    return {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 128, "actorder": None,
            "block_structure": None, "dynamic": False} | values  # fmt: skip


def stated(form: str, weight: dict[str, Any], inputs: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    group = {"format": form, "targets": ["Linear"], "weights": weight, "input_activations": inputs}
    return {"quant_method": "compressed-tensors", "format": form, "config_groups": {"group_0": group},
            "ignore": ["lm_head"], "kv_cache_scheme": None, "sparsity_config": {}} | more  # fmt: skip


def gptq(rows: int, columns: int) -> Tensors:
    return {
        "qweight": zeros(columns // 8, rows),
        "qzeros": zeros(columns // 128, rows // 8),
        "scales": zeros(columns // 128, rows, dtype=torch.float16),
        "g_idx": zeros(columns),
    }


def awq(rows: int, columns: int) -> Tensors:
    return {
        "qweight": zeros(columns, rows // 8),
        "qzeros": zeros(columns // 128, rows // 8),
        "scales": zeros(columns // 128, rows, dtype=torch.float16),
    }


def blocks(rows: int, columns: int) -> Tensors:
    return {
        "weight": zeros(rows, columns, dtype=FP8),
        "weight_scale_inv": zeros(-(-rows // 128), -(-columns // 128), dtype=torch.float32),
    }


def nvfp4(rows: int, columns: int) -> Tensors:
    return {
        "weight_packed": zeros(rows, columns // 2, dtype=torch.uint8),
        "weight_scale": zeros(rows, columns // 16, dtype=FP8),
        "weight_global_scale": zeros(1, dtype=torch.float32),
    }


BYTES = weights(num_bits=8, strategy="channel", group_size=None)
FLOATS = BYTES | {"type": "float"}
ROWS, ONE = (lambda rows, columns: (rows, 1)), (lambda rows, columns: (1,))
DYNAMIC, STATIC = {"dynamic": True, "strategy": "token"}, {"dynamic": False, "strategy": "tensor"}
KINDS: dict[str, tuple[dict[str, Any], Pack]] = {
    "fp8": (stated("float-quantized", FLOATS, DYNAMIC), plain(FP8, ROWS)),
    "fp8-static": (stated("float-quantized", FLOATS | {"strategy": "tensor"}, STATIC), plain(FP8, ONE, static=True)),
    "fp8-block": (
        stated("float-quantized", FLOATS | {"strategy": "block", "block_structure": [128, 128]}, DYNAMIC),
        plain(FP8, lambda rows, columns: (-(-rows // 128), -(-columns // 128))),
    ),
    "int8": (stated("int-quantized", BYTES, DYNAMIC), plain(torch.int8, ROWS)),
    "w4a16": (stated("pack-quantized", weights()), packed()),
    "w4a16-asym": (stated("pack-quantized", weights(symmetric=False)), packed(zero_points=True)),
    "w8a16": (stated("pack-quantized", weights(num_bits=8)), packed(bits=8)),
    "nvfp4": (
        stated("nvfp4-pack-quantized", weights(type="float", strategy="tensor_group", group_size=16)),
        nvfp4,
    ),
    "gptq": ({"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True}, gptq),
    "awq": ({"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}, awq),
    "deepseek": ({"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "dynamic"}, blocks),
}


def quantise(folder: Path, kind: str) -> Path:
    """Put the tensors and the config of a kind in the place of a model's own. Its columns must be multiples of 128."""
    config, pack = KINDS[kind]
    tensors: Tensors = {}
    for name, value in load_file(folder / "model.safetensors").items():
        stem = name.removesuffix(".weight")
        if stem.rpartition(".")[2] in LINEAR:
            tensors |= {f"{stem}.{part}": held for part, held in pack(*value.shape).items()}
        else:
            tensors[name] = value
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"quantization_config": config}))
    return folder
