"""Sums of low-rank products: identities, gauges, and dense oracles in numpy; and where peft is right or wrong."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PeftModel
from transformers import AutoModelForCausalLM

from pipelines.merge.adapters.low_rank import LowRank, cat, knots, svd
from tests.unit.merge.conftest import save_lora

Dense = npt.NDArray[np.float64]


def product(rows: int, columns: int, rank: int, seed: int = 0, scale: float = 0.7) -> LowRank:
    generator = torch.Generator().manual_seed(seed)
    return LowRank(torch.randn(rows, rank, generator=generator), torch.randn(rank, columns, generator=generator), scale)


def dense(x: LowRank) -> Dense:
    return x.scale * (x.left.double().numpy() @ x.right.double().numpy())


def close(one: LowRank, two: Dense, tolerance: float = 2e-6) -> bool:
    return bool(np.abs(dense(one) - two).max() <= tolerance * max(np.abs(two).max(), 1e-30))


def cut(matrix: Dense, rank: int) -> Dense:
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    return (u[:, :rank] * s[:rank]) @ v[:rank]


sizes = st.integers(1, 9)
ranks = st.lists(st.integers(1, 6), min_size=1, max_size=4)


@settings(deadline=None, max_examples=40)
@given(rows=sizes, columns=sizes, ranks=ranks, seed=st.integers(0, 99))
def test_sums_of_any_shape_are_the_dense_ones(rows: int, columns: int, ranks: list[int], seed: int) -> None:
    products = [product(rows, columns, rank, seed + at) for at, rank in enumerate(ranks)]
    weights = [(-1.0) ** at * (0.5 + at) for at in range(len(products))]
    total = sum(weight * dense(x) for weight, x in zip(weights, products, strict=True))
    assert close(cat(products, weights), total, 1e-5)
    assert cat(products, weights).rank == sum(ranks)
    found = svd(products, weights, sum(ranks))
    assert close(found.product, total, 1e-5) and found.discarded == 0
    assert found.energy == pytest.approx(float(np.square(total).sum()), rel=1e-6)


@settings(deadline=None, max_examples=25)
@given(rows=sizes, columns=sizes, rank=st.integers(1, 12), seed=st.integers(0, 99))
def test_one_product_of_weight_one_is_itself(rows: int, columns: int, rank: int, seed: int) -> None:
    one = product(rows, columns, rank, seed)
    for found in (cat([one], [1.0]), svd([one], [1.0], rank).product, knots([one], [1.0], 1.0).product):
        assert close(found, dense(one), 1e-5)


@pytest.mark.parametrize("rank", [1, 3, 5, 8])
def test_svd_is_the_truncated_svd_of_the_dense_sum(rank: int) -> None:
    products, weights = [product(30, 20, 4, 1), product(30, 20, 3, 2)], [0.8, -1.1]
    total = sum(weight * dense(x) for weight, x in zip(weights, products, strict=True))
    found, values = svd(products, weights, rank), np.linalg.svd(total, compute_uv=False)
    assert close(found.product, cut(total, rank))
    assert found.product.rank == min(rank, 7)
    assert found.discarded == pytest.approx(float(np.square(values[rank:]).sum()), abs=1e-9)


def ties_of(blocks: list[Dense], weights: list[float], density: float) -> Dense:
    """TIES on matrices, element by element; where the votes sum to 0 the sign is +."""
    kept = []
    for block in blocks:
        k = max(1, int(density * block.size))
        kept.append(np.where(np.abs(block) >= np.sort(np.abs(block).ravel())[-k], block, 0.0))
    sign = np.where(sum(w * b for w, b in zip(weights, kept, strict=True)) >= 0, 1.0, -1.0)
    agree = [(np.sign(block) == sign) * weight for block, weight in zip(kept, weights, strict=True)]
    mass = sum(agree)
    return sum(a * b for a, b in zip(agree, kept, strict=True)) / np.where(mass == 0, 1.0, mass)


@pytest.mark.parametrize("rank", [None, 2])
@pytest.mark.parametrize("density", [0.3, 1.0])
def test_knots_is_that_of_the_dense_matrices(density: float, rank: int | None) -> None:
    products, weights = [product(24, 15, 3, 1), product(24, 15, 2, 2, 1.9), product(24, 15, 4, 3)], [1.0, 0.5, 2.0]
    side_by_side = np.concatenate([dense(x) for x in products], 1)
    u, s, v = np.linalg.svd(side_by_side, full_matrices=False)
    u, s, v = u[:, :9], s[:9], v[:9]
    merged = 0.6 * u @ ties_of(np.split(s[:, None] * v, 3, 1), weights, density)
    found = knots(products, weights, density, 0.6, rank)
    assert close(found.product, merged if rank is None else cut(merged, rank), 1e-5)
    values = np.linalg.svd(merged, compute_uv=False)
    assert found.discarded == pytest.approx(0.0 if rank is None else float(np.square(values[rank:]).sum()), rel=1e-4)


@pytest.mark.parametrize("density", [0.4, 1.0])
def test_knots_does_not_depend_on_the_order(density: float) -> None:
    products, weights = [product(24, 15, 3, seed) for seed in range(3)], [1.0, 0.5, 2.0]
    one, two = knots(products, weights, density), knots(products[::-1], weights[::-1], density)
    assert close(one.product, dense(two.product), 1e-5)


def regauged(x: LowRank, seed: int) -> LowRank:
    """The same product of other factors: (B R, R^-1 A)."""
    turn = torch.randn(x.rank, x.rank, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return LowRank((x.left.double() @ turn).float(), torch.linalg.solve(turn, x.right.double()).float(), x.scale)


def test_other_factors_of_the_same_products_give_the_same_merge() -> None:
    products, weights = [product(24, 15, 3, 1), product(24, 15, 2, 2)], [1.0, 0.5]
    others = [regauged(x, seed) for seed, x in enumerate(products)]
    assert all(close(x, dense(y), 1e-5) for x, y in zip(products, others, strict=True))
    assert close(cat(others, weights), dense(cat(products, weights)), 1e-5)
    assert close(svd(others, weights, 3).product, dense(svd(products, weights, 3).product), 1e-5)
    one, two = (knots(members, weights, 1.0).product for members in (products, others))
    assert close(two, dense(one), 1e-5)


@pytest.mark.parametrize("copies", [2, 5])
def test_copies_that_share_the_weight_are_the_copy(copies: int) -> None:
    one = product(24, 15, 3)
    products, weights = [one] * copies, [1 / copies] * copies
    found = [cat(products, weights), svd(products, weights, 3).product, knots(products, weights, 1.0).product]
    assert all(close(merged, dense(one)) for merged in found)
    # Copies span no more than one of them: rounding makes no directions of its own.
    assert found[2].rank == 3


def test_merge_of_nothing_is_nothing() -> None:
    zero = LowRank(torch.zeros(6, 2), torch.randn(2, 5))
    for found in (svd([zero], [1.0], 2), knots([zero], [1.0], 0.5)):
        assert not dense(found.product).any() and found.product.rank == 2 and found.energy == 0


def test_lambda_scales_the_merge() -> None:
    products = [product(24, 15, 3, 1), product(24, 15, 2, 2)]
    one, three = (knots(products, [1.0, 1.0], 0.5, lambda_).product for lambda_ in (1.0, 3.0))
    assert close(three, 3 * dense(one))


def by_peft(base: Path, loras: list[Path], weights: list[float], combination: str) -> dict[str, torch.Tensor]:
    """What peft's add_weighted_adapter adds to q_proj of the first layer, and what each adapter adds."""
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), loras[0], adapter_name="0")
    for at, lora in enumerate(loras[1:], 1):
        model.load_adapter(lora, adapter_name=str(at))
    names = [str(at) for at in range(len(loras))]
    # For one adapter peft silently takes `linear` whatever is asked for.
    model.add_weighted_adapter(names, weights, "merged", combination_type=combination, svd_rank=3)
    module = model.base_model.model.model.layers[0].self_attn.q_proj
    return {name: module.get_delta_weight(name).detach() for name in [*names, "merged"]}


def factors_of(base: Path, lora: Path) -> LowRank:
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), lora)
    module = model.base_model.model.model.layers[0].self_attn.q_proj
    left, right = (side["default"].weight.detach() for side in (module.lora_B, module.lora_A))
    return LowRank(left, right, module.scaling["default"])


def loras_of(base: Path, folder: Path, **settings: object) -> list[Path]:
    return [save_lora(base, folder / str(seed), seed, target_modules=["q_proj"], **settings) for seed in (1, 2)]


def test_plain_lora_agrees_with_peft(pico_base: Path, tmp_path: Path) -> None:
    loras, weights = loras_of(pico_base, tmp_path), [0.7, -0.4]
    products = [factors_of(pico_base, lora) for lora in loras]
    whole = by_peft(pico_base, loras, weights, "cat")["merged"]
    nearest = by_peft(pico_base, loras, weights, "svd")["merged"]
    assert close(cat(products, weights), whole.double().numpy(), 1e-5)
    assert close(svd(products, weights, 3).product, nearest.double().numpy(), 1e-5)


def test_peft_scales_merges_of_rslora_again(pico_base: Path, tmp_path: Path) -> None:
    """peft 0.21: what is merged inherits use_rslora, so its scale is r / sqrt(r), sqrt(8) times too much for cat."""
    loras, weights = loras_of(pico_base, tmp_path, use_rslora=True), [1.0, 1.0]
    found = by_peft(pico_base, loras, weights, "cat")
    ours = cat([factors_of(pico_base, lora) for lora in loras], weights)
    assert close(ours, (found["0"] + found["1"]).double().numpy(), 1e-5)
    assert close(ours, found["merged"].double().numpy() / 8**0.5, 1e-5)


def test_peft_linear_doubles_two_halves_of_one_adapter(pico_base: Path, tmp_path: Path) -> None:
    """peft's `linear` adds factors, not products: (2 sqrt(.5) B)(2 sqrt(.5) A) = 2 B A. Ours gives B A."""
    lora = loras_of(pico_base, tmp_path)[0]
    found = by_peft(pico_base, [lora, lora], [0.5, 0.5], "linear")
    torch.testing.assert_close(found["merged"], 2 * found["0"], atol=1e-6, rtol=0)
    one = factors_of(pico_base, lora)
    assert close(cat([one, one], [0.5, 0.5]), dense(one))
