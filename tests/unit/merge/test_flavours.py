"""Adapters that are more than LoRA, baked: DoRA, saved modules, trained biases. As live, or not at all."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from pipelines.errors import UserError
from pipelines.merge.adapters.dora import dora_read
from pipelines.merge.adapters.low_rank import LowRank
from pipelines.merge.reads import stored
from tests import pico
from tests.unit.merge.conftest import save_lora
from tests.unit.merge.models import Tensors, cast, files, merged, tensors
from tests.unit.merge.test_adapter import altered, pico_gpt2

FLAVOURS: dict[str, dict[str, Any]] = {
    "lora": {},
    "rslora": {"use_rslora": True, "r": 16},
    "patterns": {"rank_pattern": {"v_proj": 2}, "alpha_pattern": {"down_proj": 32}},
    "dora": {"use_dora": True},
    "dora-rslora": {"use_dora": True, "use_rslora": True, "r": 16},
    "dora-embeddings": {"use_dora": True, "target_modules": ["embed_tokens", "q_proj"]},
    "saved": {"modules_to_save": ["lm_head", "input_layernorm"]},
    "dora-saved": {"use_dora": True, "modules_to_save": ["embed_tokens"]},
    "bias": {"bias": "all"},
    "lora-bias": {"bias": "lora_only"},
}


def shaken(weights: Tensors) -> Tensors:
    """Whole tensors and magnitudes moved, as training would."""
    generator = torch.Generator().manual_seed(7)
    return {
        name: value * (1 + 0.3 * torch.rand(value.shape, generator=generator)) + (0.1 if name.endswith("bias") else 0.0)
        if "lora_A" not in name and "lora_B" not in name and "lora_embedding" not in name
        else value
        for name, value in sorted(weights.items())
    }


def trained(base: Path, folder: Path, **settings: Any) -> Path:
    return altered(save_lora(base, folder / "fresh", **settings), folder / "lora", shaken)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untied model with biases in its attention."""
    folder = tmp_path_factory.mktemp("biased") / "base"
    return pico.save_model(folder, 0, tie_word_embeddings=False, attention_bias=True)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(torch.arange(50).view(2, 25)).logits
    return found


def live(base: Path, lora: Path) -> Any:
    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), lora)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_baked_adapter_computes_what_the_live_one_does(base: Path, tmp_path: Path, flavour: str) -> None:
    lora = trained(base, tmp_path, **FLAVOURS[flavour])
    baked, metrics = merged(tmp_path / "out", base, {lora: 1.0})
    found, expected = logits(AutoModelForCausalLM.from_pretrained(baked)), logits(live(base, lora))
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=1e-5)
    assert not torch.allclose(expected, logits(AutoModelForCausalLM.from_pretrained(base)), atol=1e-3)
    before, after = tensors(base), tensors(baked)
    matrices = [name for name, value in before.items() if value.dim() > 1]
    squares = sum(float((after[name] - before[name]).double().square().sum()) for name in matrices)
    norm = sum(float(before[name].double().square().sum()) for name in matrices)
    assert metrics["models"][0]["delta_norm_ratio"] == pytest.approx((squares / norm) ** 0.5, rel=1e-3)


def test_baked_conv1d_dora_computes_what_the_live_one_does(tmp_path: Path) -> None:
    base = pico_gpt2(tmp_path / "gpt2")
    lora = trained(base, tmp_path, use_dora=True, target_modules=["c_attn", "c_proj"], fan_in_fan_out=True)
    baked, _ = merged(tmp_path / "out", base, {lora: 1.0})
    found = logits(AutoModelForCausalLM.from_pretrained(baked))
    torch.testing.assert_close(found, logits(live(base, lora)), atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("flavour", ["dora", "saved", "dora-embeddings", "bias"])
@pytest.mark.parametrize("kind", ["linear", "task_arithmetic", "ties"])
def test_adapter_merges_as_the_model_it_makes(base: Path, tmp_path: Path, flavour: str, kind: str) -> None:
    lora = trained(base, tmp_path, **FLAVOURS[flavour])
    baked, _ = merged(tmp_path / "lora-baked", base, {lora: 1.0})
    other = pico.save_tuned(base, tmp_path / "other", 1)
    direct, _ = merged(tmp_path / "direct", base, {lora: 0.5, other: 1.0}, method={"kind": kind})
    through, _ = merged(tmp_path / "through", base, {baked: 0.5, other: 1.0}, method={"kind": kind})
    one, two = tensors(direct), tensors(through)
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-5


def test_dora_bakes_the_same_bytes_on_any_number_of_threads(base: Path, tmp_path: Path) -> None:
    lora = trained(base, tmp_path, use_dora=True, target_modules=["embed_tokens", "q_proj", "down_proj"])
    half = cast(base, tmp_path / "half", torch.bfloat16)
    made = [merged(tmp_path / str(threads), half, {lora: 1.0}, threads=threads)[0] for threads in (1, 3)]
    assert files(made[0]) == files(made[1])


@pytest.mark.parametrize("transposed", [False, True])
def test_dora_does_not_depend_on_slices(transposed: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(300, 577, generator=generator)
    product = LowRank(torch.randn(300, 8, generator=generator), torch.randn(8, 577, generator=generator), 0.1)
    lengths = torch.rand(577 if transposed else 300, generator=generator)
    read = dora_read(stored(weight), product, lengths, transposed)
    expected = read(0, weight.numel())
    for step in (1000, 65_536, 100_001):
        pieces = [read(start, min(start + step, weight.numel())) for start in range(0, weight.numel(), step)]
        assert torch.cat(pieces).equal(expected)
    adapted = weight.double() + 0.1 * product.left.double() @ product.right.double()
    dimension = 0 if transposed else 1
    norms = adapted.norm(dim=dimension, keepdim=True)
    oracle = adapted / norms * (lengths.double() if transposed else lengths.double()[:, None])
    torch.testing.assert_close(expected.view(300, 577).double(), oracle, atol=1e-6, rtol=1e-6)


def test_dora_direction_of_length_0_stays_0() -> None:
    product = LowRank(torch.zeros(2, 1), torch.zeros(1, 3))
    weight = torch.tensor([[0.0, 0.0, 0.0], [3.0, 0.0, 4.0]])
    found = dora_read(stored(weight), product, torch.tensor([2.0, 10.0]), False)(0, 6)
    assert found.tolist() == pytest.approx([0.0, 0.0, 0.0, 6.0, 0.0, 8.0])


def with_head(lora: Path, target: Path, shape: tuple[int, int], **config: Any) -> Path:
    head = {"base_model.model.lm_head.weight": torch.ones(shape)}
    return altered(lora, target, lambda weights: weights | head, **config)


def test_saved_module_of_another_shape_is_refused(base: Path, tmp_path: Path) -> None:
    lora = with_head(save_lora(base, tmp_path / "lora"), tmp_path / "odd", (4, 32), modules_to_save=["lm_head"])
    with pytest.raises(UserError, match=r"does not fit lm_head\.weight"):
        merged(tmp_path / "out", base, {lora: 1.0})


def test_saved_module_of_tied_embeddings_is_refused(pico_base: Path, lora: Path, tmp_path: Path) -> None:
    odd = with_head(lora, tmp_path / "odd", (398, 32), modules_to_save=["lm_head"])
    with pytest.raises(UserError, match="which embedding and output head share"):
        merged(tmp_path / "out", pico_base, {odd: 1.0})


def test_bias_that_is_not_in_the_file_is_missed(base: Path, tmp_path: Path) -> None:
    lora = save_lora(base, tmp_path / "lora", bias="all")
    weights = load_file(lora / "adapter_model.safetensors")
    left = {name: value for name, value in weights.items() if "layers.1.self_attn.k_proj.bias" not in name}
    save_file(left, lora / "adapter_model.safetensors")
    with pytest.raises(UserError, match=r"lacks 1 tensor .*layers\.1\.self_attn\.k_proj\.bias"):
        merged(tmp_path / "out", base, {lora: 1.0})


def test_embedding_that_peft_saved_beside_the_adapter_is_kept(base: Path, tmp_path: Path) -> None:
    """peft writes targeted embeddings too, as they were: the adapter goes on top of them."""
    settings = {"target_modules": ["embed_tokens", "q_proj"]}
    plain = save_lora(base, tmp_path / "plain", **settings)
    whole = {"base_model.model.model.embed_tokens.base_layer.weight": tensors(base)["model.embed_tokens.weight"]}
    both = altered(plain, tmp_path / "both", lambda weights: weights | whole)
    made = [merged(tmp_path / name, base, {lora: 1.0})[0] for name, lora in (("a", plain), ("b", both))]
    assert files(made[0]) == files(made[1])
