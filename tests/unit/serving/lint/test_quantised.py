"""Every rule on quantised folders finds its folder, and what llm-compressor writes is left alone."""

import copy
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipelines.serving import environments
from pipelines.serving.findings import errors
from pipelines.serving.lint.quantised import rules
from tests import pico
from tests.unit.serving.lint.changes import at, copied, named
from tests.unit.serving.lint.packing import BF16, KINDS, quantise, zeros

Break = Callable[[Path], object]
SIZES = {"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2}
Q, K = "model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.k_proj"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pico.save_model(tmp_path_factory.mktemp("plain") / "model", seed=0, dtype=torch.bfloat16, **SIZES)


def tensors(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Break:
    def apply(folder: Path) -> None:
        path = folder / "model.safetensors"
        save_file(change(load_file(path)), path, {"format": "pt"})

    return apply


def without(*ends: str) -> Break:
    return tensors(lambda held: {name: value for name, value in held.items() if not name.endswith(ends)})


def put(**values: torch.Tensor) -> Break:
    return tensors(lambda held: held | {f"{Q}.{part}": value for part, value in values.items()})


def said(*keys: str | int, value: object) -> Break:
    return lambda folder: at(folder / "config.json", "quantization_config", *keys, value=value)


def unpacked(*modules: str) -> Break:
    """The layers as they were before they were quantised."""

    def change(held: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        kept = {name: value for name, value in held.items() if name.rpartition(".")[0] not in modules}
        return kept | {f"{module}.weight": zeros(128, 128, dtype=BF16) for module in modules}

    return tensors(change)


GROUP = ("config_groups", "group_0")
BROKEN: list[tuple[str, str, str, Break]] = [
    ("quantised-scale-missing", "E", "fp8", without("weight_scale")),
    ("quantised-scale-missing", "E", "fp8-static", without(f"{Q}.input_scale")),
    ("quantised-scale-missing", "E", "w4a16", without(f"{Q}.weight_scale")),
    ("quantised-scale-missing", "E", "w4a16-asym", without("weight_zero_point")),
    ("quantised-scale-missing", "E", "nvfp4", without("weight_global_scale")),
    ("quantised-scale-missing", "E", "gptq", without("scales")),
    ("quantised-scale-missing", "E", "awq", without("qzeros")),
    ("quantised-scale-missing", "E", "deepseek", without("weight_scale_inv")),
    ("quantised-shape", "E", "w4a16", without("weight_shape")),
    ("quantised-shape", "E", "w4a16", put(weight_shape=torch.tensor([128, 512]))),
    ("quantised-shape", "E", "w4a16", put(weight_scale=zeros(128, 3, dtype=BF16))),
    ("quantised-shape", "E", "w4a16", said(*GROUP, "weights", "num_bits", value=8)),
    ("quantised-shape", "E", "fp8", put(weight_scale=zeros(7, 1, dtype=BF16))),
    ("quantised-shape", "E", "int8", said(*GROUP, "weights", "type", value="float")),
    ("quantised-shape", "E", "int8", put(weight_scale=zeros(128, 1))),
    ("quantised-shape", "E", "gptq", said("group_size", value=64)),
    ("quantised-shape", "E", "deepseek", said("weight_block_size", value=[64, 64])),
    ("quantised-group-size", "E", "w4a16", said(*GROUP, "weights", "group_size", value=96)),
    ("quantised-group-size", "E", "gptq", said("group_size", value=96)),
    ("quantised-groups", "E", "w4a16", said("config_groups", value={})),
    ("quantised-groups", "E", "gptq", said("bits", value=None)),
    ("quantised-not-packed", "E", "w4a16", unpacked(Q)),
    ("quantised-ignored", "E", "w4a16", said("ignore", value=["lm_head", "re:.*layers.0.*_proj"])),
    ("quantised-fused", "E", "w4a16", lambda at: [unpacked(Q)(at), said("ignore", value=[Q])(at)]),
    ("quantised-actorder", "E", "w4a16", said(*GROUP, "weights", "actorder", value="group")),
    ("quantised-sparsity", "E", "fp8", said("sparsity_config", value={"targets": ["Linear"]})),
    ("quantised-nvfp4", "W", "nvfp4", lambda at: None),
    ("quantised-unchecked", "W", "fp8", said("quant_method", value="modelopt")),
    ("quantised-unchecked", "W", "fp8", said(*GROUP, "format", value="mxfp8-quantized")),
    ("kv-cache-scheme", "E", "fp8", said("kv_cache_scheme", value={"num_bits": 4, "type": "int", "dynamic": False})),
    ("kv-cache-scales", "W", "fp8", said("kv_cache_scheme", value={"num_bits": 8, "type": "float", "dynamic": False})),
]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "nvfp4"])
def test_quantised_folder_of_every_kind_finds_nothing(kind: str, plain: Path, tmp_path: Path) -> None:
    assert rules(quantise(copied(plain, tmp_path / "sound"), kind)) == []


@pytest.mark.parametrize(
    ("rule", "severity", "kind", "change"), BROKEN, ids=[f"{at}-{case[0]}" for at, case in enumerate(BROKEN)]
)
def test_quantised_broken_folder_is_found_with_a_fix(
    rule: str, severity: str, kind: str, change: Break, plain: Path, tmp_path: Path
) -> None:
    folder = quantise(copied(plain, tmp_path / "broken"), kind)
    change(folder)
    found = rules(folder)
    assert named(found).get(rule) == severity, [str(finding) for finding in found]
    assert all(finding.fix for finding in found)


def test_quantised_layers_that_are_ignored_together_find_nothing(plain: Path, tmp_path: Path) -> None:
    folder = quantise(copied(plain, tmp_path / "sound"), "w4a16")
    whole = [Q, K, "model.layers.0.self_attn.v_proj"]
    unpacked(*whole)(folder)
    said("ignore", value=["lm_head", *whole])(folder)
    assert rules(folder) == []


def test_quantised_rules_say_nothing_of_plain_weights(plain: Path, tmp_path: Path) -> None:
    assert rules(plain) == []
    assert rules(tmp_path) == []


@pytest.mark.parametrize("value", [[], "x", {"group_0": {"weights": {"group_size": "x", "num_bits": "y"}}}, {"g": 3}])
def test_quantised_config_of_nonsense_is_a_finding(value: object, plain: Path, tmp_path: Path) -> None:
    folder = quantise(copied(plain, tmp_path / "broken"), "w4a16")
    said("config_groups", value=copy.deepcopy(value))(folder)
    assert errors(rules(folder))


ONESHOT = """
import json, sys
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.gptq import GPTQModifier
from llmcompressor.modifiers.quantization import QuantizationModifier
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
base, out = sys.argv[1:]
words = PreTrainedTokenizerFast.from_pretrained(base)
rows = Dataset.from_list([{"text": "the quick brown fox jumps over the lazy dog"} for _ in range(4)])
plain, gptq = QuantizationModifier, GPTQModifier
for scheme, kind in (("FP8_DYNAMIC", plain), ("W4A16_ASYM", plain), ("FP8", plain), ("W8A8", gptq), ("W4A16", gptq)):
    model = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
    recipe = kind(targets="Linear", scheme=scheme, ignore=["lm_head"])
    oneshot(model=model, recipe=recipe, tokenizer=words, dataset=rows, num_calibration_samples=4, max_seq_length=32)
    model.save_pretrained(f"{out}/{scheme}", save_compressed=True)
"""


@pytest.mark.slow
def test_quantised_folder_of_llm_compressor_finds_nothing(plain: Path, tmp_path: Path) -> None:
    found = environments.find("llmcompressor")
    if found is None:
        pytest.skip("the environment 'llmcompressor' is not installed")
    environment = {"HF_HUB_OFFLINE": "1", "PATH": str(found.python.parent), "HOME": str(tmp_path)}
    command = [str(found.python), "-c", ONESHOT, str(plain), str(tmp_path)]
    subprocess.run(command, check=True, env=environment, cwd=tmp_path, capture_output=True)
    folders = sorted(path.parent for path in tmp_path.glob("*/config.json"))
    assert len(folders) == 5
    assert [str(finding) for folder in folders for finding in rules(folder)] == []
