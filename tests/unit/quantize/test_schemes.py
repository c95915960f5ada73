"""Levels as recipes of llm-compressor: groups that fit, and what is left as it is."""

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pipelines.errors import UserError
from pipelines.quantize.config import LEVELS
from pipelines.quantize.schemes import UNQUANTISED, group_size, recipe


def folder_of(folder: Path, **shapes: tuple[int, ...]) -> Path:
    tensors = {name.replace("__", "."): torch.zeros(shape, dtype=torch.bfloat16) for name, shape in shapes.items()}
    save_file(tensors, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize(("columns", "group"), [((128, 256), 128), ((576, 1536), 64), ((96, 128), 32)])
def test_group_size_largest_that_divides_every_weight(tmp_path: Path, columns: tuple[int, int], group: int):
    folder = folder_of(
        tmp_path,
        model__layers__0__q_proj__weight=(7, columns[0]),
        model__layers__0__down_proj__weight=(8, columns[1]),
    )
    assert group_size(folder) == group


def test_group_size_ignores_what_is_not_quantised(tmp_path: Path):
    folder = folder_of(
        tmp_path,
        model__embed_tokens__weight=(100, 50),
        lm_head__weight=(100, 50),
        model__layers__0__mlp__gate__weight=(4, 50),
        model__layers__0__input_layernorm__weight=(50,),
        model__layers__0__mlp__gate_proj__weight=(100, 128),
    )
    assert group_size(folder) == 128


def test_group_size_experts_in_one_tensor_count_either_way(tmp_path: Path):
    assert group_size(folder_of(tmp_path, model__layers__0__mlp__experts__gate_up_proj=(4, 64, 128))) == 64


def test_group_size_that_fits_nothing_is_refused_with_the_weight(tmp_path: Path):
    folder = folder_of(tmp_path, model__layers__0__q_proj__weight=(7, 48), model__layers__0__o_proj__weight=(7, 64))
    with pytest.raises(UserError, match=r"q_proj.weight \[7, 48\]\). Take fp8 or int8"):
        group_size(folder)


@pytest.mark.parametrize("level", LEVELS)
def test_recipe_leaves_head_and_routers(level: str):
    [*_, (_, last)] = recipe(level, 64)
    assert last["ignore"] == list(UNQUANTISED)


def test_recipe_four_bits_take_the_group():
    [(_, gptq)], [_, (_, awq)] = recipe("w4a16_gptq", 64), recipe("w4a16_awq", 64)
    weights = [arguments["config_groups"]["group_0"]["weights"] for arguments in (gptq, awq)]
    assert [(one["group_size"], one["symmetric"]) for one in weights] == [(64, True), (64, False)]


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("model.layers.3.mlp.gate", True),
        ("model.layers.3.block_sparse_moe.gate", True),
        ("model.layers.3.mlp.router", True),
        ("model.layers.3.mlp.router.classifier", True),
        ("model.layers.3.mlp.shared_expert_gate", True),
        ("model.layers.3.mlp.gate_proj", False),
        ("model.layers.3.self_attn.q_proj", False),
    ],
)
def test_unquantised_names_routers_and_no_projection(name: str, left: bool):
    patterns = [pattern.removeprefix("re:") for pattern in UNQUANTISED if pattern.startswith("re:")]
    assert any(re.match(pattern, name) for pattern in patterns) == left
