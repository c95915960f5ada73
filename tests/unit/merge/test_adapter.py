"""LoRA adapters baked into the base: as peft does it, exactly, or not at all."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from pipelines.errors import UserError
from tests import pico
from tests.unit.merge.conftest import save_lora
from tests.unit.merge.models import Tensors, cast, edited, files, merged, tensors


def baked_by_peft(base: Path, lora: Path) -> Tensors:
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), lora)
    return {name: tensor.detach() for name, tensor in model.merge_and_unload().state_dict().items()}


def assert_baked_like_peft(base: Path, lora: Path, out: Path) -> None:
    baked, metrics = merged(out, base, {lora: 1.0})
    expected, before = baked_by_peft(base, lora), tensors(base)
    result = tensors(baked)
    changed = 0
    for name, tensor in result.items():
        torch.testing.assert_close(tensor, expected[name], atol=1e-7, rtol=1e-6)
        changed += not tensor.equal(before[name])
    assert metrics["changed"] == changed > 0


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"use_rslora": True, "r": 16},
        {"rank_pattern": {"v_proj": 2, "layers.1.self_attn.q_proj": 3}, "alpha_pattern": {"down_proj": 32}},
        {"rank_pattern": {"^model.layers.0.*q_proj": 7}, "alpha_pattern": {"q_proj": 1}, "use_rslora": True},
        {"target_modules": "all-linear"},
        {"layers_to_transform": [1]},
    ],
    ids=["lora", "rslora", "patterns", "regex-patterns", "all-linear", "one-layer"],
)
def test_baking_agrees_with_peft(pico_base: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    assert_baked_like_peft(pico_base, save_lora(pico_base, tmp_path / "lora", **settings), tmp_path / "out")


def test_baking_conv1d_agrees_with_peft(tmp_path: Path) -> None:
    base = pico_gpt2(tmp_path / "gpt2")
    lora = save_lora(base, tmp_path / "lora", target_modules=["c_attn", "c_proj"], fan_in_fan_out=True)
    assert_baked_like_peft(base, lora, tmp_path / "out")


def test_baking_untied_embedding_and_head_agrees_with_peft(tmp_path: Path) -> None:
    base = pico.save_model(tmp_path / "base", 0, tie_word_embeddings=False)
    lora = save_lora(base, tmp_path / "lora", target_modules=["embed_tokens", "lm_head", "q_proj"])
    assert_baked_like_peft(base, lora, tmp_path / "out")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_baking_is_base_plus_delta_rounded_once(
    pico_base: Path, lora: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    base = cast(pico_base, tmp_path / "base", dtype)
    baked, metrics = merged(tmp_path / "out", base, {lora: 3.0})
    before, result, factors = tensors(base), tensors(baked), load_file(lora / "adapter_model.safetensors")
    for name, tensor in result.items():
        stem = f"base_model.model.{name.removesuffix('.weight')}.lora_"
        expected = before[name]
        if stem + "A.weight" in factors:
            delta = (factors[stem + "B.weight"] @ factors[stem + "A.weight"]) * 2.0
            expected = (before[name].float() + delta).to(dtype)
        assert tensor.equal(expected)
    matrices = [name for name, tensor in before.items() if tensor.dim() > 1]
    squares = sum((result[name].float() - before[name].float()).square().sum() for name in matrices)
    norm = sum(before[name].float().square().sum() for name in matrices)
    assert metrics["models"][0]["delta_norm_ratio"] == pytest.approx(float((squares / norm).sqrt()), rel=1e-2)


def test_baked_model_computes_what_the_live_adapter_does(pico_base: Path, lora: Path, tmp_path: Path) -> None:
    baked, _ = merged(tmp_path / "out", pico_base, {lora: 1.0})
    live = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(pico_base), lora).eval()
    ids = torch.arange(50).view(2, 25)
    with torch.no_grad():
        expected = live(ids).logits
        torch.testing.assert_close(AutoModelForCausalLM.from_pretrained(baked)(ids).logits, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["linear", "interpolate", "ties", "dare_ties"])
def test_adapter_merges_as_the_model_it_makes(
    pico_base: Path, pico_tuned, lora: Path, tmp_path: Path, kind: str
) -> None:
    # The keys are the folder names, so the adapter and its model have the same place in the order and the same masks.
    baked, _ = merged(tmp_path / "baked" / lora.name, pico_base, {lora: 1.0})
    method = {"kind": kind} | ({"alpha": 0.4} if kind == "interpolate" else {})
    others = {} if kind == "interpolate" else {pico_tuned[0]: 1.0}
    direct, _ = merged(tmp_path / "direct", pico_base, {lora: 1.0, **others}, method=method)
    through, _ = merged(tmp_path / "through", pico_base, {baked: 1.0, **others}, method=method)
    one, two = tensors(direct), tensors(through)
    assert sum(float((one[name] - two[name]).abs().max() > 1e-5) for name in one) == 0


def test_half_precision_factors_are_multiplied_in_float32(pico_base: Path, lora: Path, tmp_path: Path) -> None:
    half = tmp_path / "half"
    shutil.copytree(lora, half)
    weights = {name: tensor.bfloat16() for name, tensor in load_file(lora / "adapter_model.safetensors").items()}
    save_file(weights, half / "adapter_model.safetensors")
    full = tmp_path / "full"
    shutil.copytree(lora, full)
    save_file({name: tensor.float() for name, tensor in weights.items()}, full / "adapter_model.safetensors")
    one, _ = merged(tmp_path / "one", pico_base, {half: 1.0})
    two, _ = merged(tmp_path / "two", pico_base, {full: 1.0})
    assert files(one) == files(two)


def altered(lora: Path, target: Path, change: Callable[[Tensors], Tensors] = dict, **config: Any) -> Path:
    shutil.copytree(lora, target)
    weights = target / "adapter_model.safetensors"
    save_file(change(load_file(weights)), weights)
    settings = json.loads((target / "adapter_config.json").read_text()) | config
    (target / "adapter_config.json").write_text(json.dumps(settings))
    return target


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"use_dora": True}, "no DoRA magnitudes"),
        ({"modules_to_save": ["norm"]}, "lacks 5 tensors that were trained as a whole"),
        ({"lora_bias": True}, "biases on B"),
        ({"trainable_token_indices": [1, 2]}, "token rows"),
        ({"target_parameters": ["mlp.experts"]}, "targets parameters"),
        ({"use_qalora": True}, "QA-LoRA"),
        ({"layer_replication": [[0, 2]]}, "replicates layers"),
        ({"alora_invocation_tokens": [1]}, "activated LoRA"),
        ({"init_lora_weights": "pissa"}, "changes the base weights"),
        ({"peft_type": "IA3"}, "not a LoRA adapter"),
        ({"some_new_flag": True}, "not known here: some_new_flag"),
        ({"r": 5}, "not what adapter_config.json says"),
        ({"fan_in_fan_out": True}, "Set fan_in_fan_out"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_adapter_with_this_setting_is_refused(
    pico_base: Path, lora: Path, tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        merged(tmp_path / "out", pico_base, {altered(lora, tmp_path / "odd", **config): 1.0})
    assert not list((tmp_path / "out").iterdir())


PREFIX = "base_model.model.model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w | {f"{PREFIX}.lora_magnitude_vector": torch.ones(32)}, "has DoRA magnitudes"),
        (lambda w: w | {"base_model.model.lm_head.weight": torch.ones(4, 4)}, "which embedding and output head share"),
        (lambda w: w | {"base_model.model.model.norm.weight": torch.ones(32)}, "no place in a LoRA"),
        (lambda w: {n: t for n, t in w.items() if n != f"{PREFIX}.lora_B.weight"}, "only one of the two matrices"),
        (lambda w: {n.replace("layers.1", "layers.7"): t for n, t in w.items()}, "which the base does not have"),
        (lambda w: w | {f"{PREFIX}.lora_A.weight": torch.ones(4, 33)}, "does not fit"),
        (lambda w: w | {f"{PREFIX}.lora_A.weight": torch.ones(4, 32, 1)}, "no place in a LoRA"),
        (lambda w: {}, "holds no LoRA matrices"),
    ],
    ids=["dora vector", "whole head", "whole norm", "no B", "no such layer", "shape", "convolution", "empty"],
)
def test_adapter_with_these_tensors_is_refused(
    pico_base: Path, lora: Path, tmp_path: Path, change: Callable[[Tensors], Tensors], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        merged(tmp_path / "out", pico_base, {altered(lora, tmp_path / "odd", change): 1.0})


def test_adapter_on_tied_embeddings_is_refused(pico_base: Path, tmp_path: Path) -> None:
    lora = save_lora(pico_base, tmp_path / "lora", target_modules=["embed_tokens", "q_proj"])
    with pytest.raises(UserError, match=r"adapts model\.embed_tokens, which embedding and output head share"):
        merged(tmp_path / "out", pico_base, {lora: 1.0})


def test_every_reason_is_given_at_once(pico_base: Path, pico_tuned, lora: Path, tmp_path: Path) -> None:
    odd = altered(lora, tmp_path / "odd", lora_bias=True, some_new_flag=1)
    wide = edited(pico_tuned[0], tmp_path / "wide", lambda w: w | {"model.norm.weight": torch.ones(33)}, hidden_act="x")
    with pytest.raises(UserError) as caught:
        merged(tmp_path / "out", pico_base, {odd: 1.0, wide: 1.0})
    assert len(caught.value.problems) == 4


def test_adapter_of_another_base_is_a_few_lines(tmp_path: Path, lora: Path) -> None:
    deep = pico.save_model(tmp_path / "deep", 1, hidden_size=64, num_hidden_layers=4)
    with pytest.raises(UserError) as caught:
        merged(tmp_path / "out", deep, {lora: 1.0})
    lines = str(caught.value).splitlines()
    assert len(lines) == 3 and lines[-1].endswith("4 more of its modules cannot be used either")


def test_pickled_adapter_is_refused(pico_base: Path, lora: Path, tmp_path: Path) -> None:
    odd = altered(lora, tmp_path / "odd")
    (odd / "adapter_model.safetensors").rename(odd / "adapter_model.bin")
    with pytest.raises(UserError, match=r"has no adapter_model\.safetensors"):
        merged(tmp_path / "out", pico_base, {odd: 1.0})


def test_nan_in_an_adapter_is_refused_by_name(pico_base: Path, lora: Path, tmp_path: Path) -> None:
    odd = altered(lora, tmp_path / "odd", lambda w: w | {f"{PREFIX}.lora_A.weight": torch.full((4, 32), torch.nan)})
    with pytest.raises(UserError, match=r"odd: tensor model\.layers\.0\.self_attn\.q_proj\.weight holds NaN"):
        merged(tmp_path / "out", pico_base, {odd: 1.0})


def test_adapter_that_adds_nothing_makes_the_base_to_the_bit(pico_base: Path, tmp_path: Path) -> None:
    name = "model.layers.0.self_attn.q_proj.weight"
    base = edited(pico_base, tmp_path / "base", lambda w: w | {name: w[name].where(w[name] > 0, -0.0)})
    lora = save_lora(base, tmp_path / "lora")
    untrained = altered(lora, tmp_path / "untrained", lambda w: {key: w[key] * ("lora_A" in key) for key in w})
    out, metrics = merged(tmp_path / "out", base, {untrained: 1.0})
    assert metrics["changed"] == 0
    assert (out / "model.safetensors").read_bytes() == (base / "model.safetensors").read_bytes()


def pico_gpt2(folder: Path) -> Path:
    words = pico.tokenizer()
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=len(words), n_positions=64, n_embd=32, n_layer=2, n_head=4)
    GPT2LMHeadModel(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
