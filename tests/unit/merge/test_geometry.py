"""The methods that combine models by lengths and angles, against vectors in numpy and against mergekit."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mergekit.merge_methods.api import merge_tensors

from pipelines.merge.gram import gram
from pipelines.merge.karcher import karcher, karcher_read
from pipelines.merge.kinds import Karcher, ModelStock, Nuslerp, Slerp
from pipelines.merge.model_stock import model_stock, model_stock_read
from pipelines.merge.nuslerp import nuslerp, nuslerp_read
from pipelines.merge.on_device import OnDevice
from pipelines.merge.reads import Read, TensorInputs, inputs_of, stored
from pipelines.merge.slerp import slerp, slerp_read
from tests.unit.merge.models import cast, files, merged, same

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
SHAPES = [(), (1,), (7,), (0,), (0, 4), (4, 0), (5, 6), (1, 9), (2, 3, 4)]
METHODS: dict[str, Callable[[torch.Tensor, Sequence[torch.Tensor]], torch.Tensor]] = {
    "model_stock": model_stock,
    "slerp": lambda base, tuned: slerp(tuned[0], tuned[1], 0.3),
    "nuslerp": lambda base, tuned: nuslerp(base, tuned, [1.0, 2.0]),
    "nuslerp-row": lambda base, tuned: nuslerp(base, tuned, [1.0, 2.0], "row"),
    "karcher": lambda base, tuned: karcher(tuned, [1.0, 2.0]),
}
method = pytest.mark.parametrize("merge", METHODS.values(), ids=METHODS.keys())


def some(count: int, shape: tuple[int, ...] = (37, 53), seed: int = 0, scale: float = 0.05) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(shape, generator=generator)
    return [base, *(base + scale * torch.randn(shape, generator=generator) for _ in range(count))]


def apart(count: int, shape: tuple[int, ...] = (37, 53), seed: int = 0) -> list[torch.Tensor]:
    """Tensors that have nothing in common."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for _ in range(count)]


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def assert_close(result: torch.Tensor, expected: np.ndarray | torch.Tensor, tolerance: float = 1e-6) -> None:
    torch.testing.assert_close(result.double(), torch.as_tensor(expected).double(), atol=tolerance, rtol=tolerance)


def numbers(*tensors: torch.Tensor) -> list[np.ndarray]:
    return [tensor.double().numpy() for tensor in tensors]


# Identities of all


@method
@pytest.mark.parametrize("dtype", DTYPES)
@settings(deadline=None, max_examples=25)
@given(shape=st.sampled_from(SHAPES), seed=st.integers(0, 99), size=st.sampled_from([0.0, 1e-6, 1.0, 1e4]))
def test_copies_are_returned_bitwise(merge, dtype: torch.dtype, shape, seed: int, size: float) -> None:
    base, model = (size * tensor for tensor in apart(2, shape, seed))
    base, model = base.to(dtype), model.to(dtype)
    if model.numel() > 2:
        model.view(-1)[0] = -0.0
    assert bits(merge(base, [model, model.clone()]).to(dtype)) == bits(model)


@method
@settings(deadline=None, max_examples=60)
@given(
    shape=st.sampled_from(SHAPES),
    seeds=st.tuples(*[st.integers(0, 3)] * 3),
    sizes=st.tuples(*[st.sampled_from([0.0, -1.0, 1.0, 1e-6, 1e6])] * 3),
    dtype=st.sampled_from(DTYPES[:2]),
)
def test_any_models_give_a_finite_tensor_of_their_shape(merge, shape, seeds, sizes, dtype: torch.dtype) -> None:
    base, *tuned = ((size * apart(1, shape, seed)[0]).to(dtype) for seed, size in zip(seeds, sizes, strict=True))
    result = merge(base, tuned)
    assert result.shape == base.shape
    assert result.dtype == torch.float32
    assert result.isfinite().all()
    longest = max(tensor.float().norm().item() for tensor in (base, *tuned))
    assert result.norm().item() <= 40 * longest


@method
def test_nan_stays_where_it_is(merge) -> None:
    base, first, second = some(2, (6, 7))
    first[2, 3] = torch.nan
    result = merge(base, [first, second])
    assert result[2, 3].isnan()
    elsewhere = torch.ones(6, 7, dtype=torch.bool)
    elsewhere[2, 3] = False
    assert merge is METHODS["nuslerp-row"] or result[elsewhere].isfinite().all()


READS: dict[str, Callable[[TensorInputs], Read]] = {
    "model_stock": lambda x: model_stock_read(x, [1, 1], ModelStock(kind="model_stock")),
    "slerp": lambda x: slerp_read(x, [1, 1], Slerp(kind="slerp", t=0.4)),
    "nuslerp": lambda x: nuslerp_read(x, [1, 3], Nuslerp(kind="nuslerp")),
    "nuslerp-row": lambda x: nuslerp_read(x, [1, 3], Nuslerp(kind="nuslerp", scope="row")),
    "karcher": lambda x: karcher_read(x, [1, 3], Karcher(kind="karcher")),
}


@pytest.mark.parametrize("make", READS.values(), ids=READS.keys())
def test_slices_and_threads_change_no_bit(make: Callable[[TensorInputs], Read]) -> None:
    base, *tuned = apart(3, (150, 301))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        whole = make(inputs_of(base, tuned))(0, 150 * 301)
        torch.set_num_threads(2)
        read = make(inputs_of(base, tuned))
    finally:
        torch.set_num_threads(before)
    ends = [0, 1, 1000, 1001, 16384, 30000, 45149, 45150]
    assert torch.cat([read(*span) for span in pairwise(ends)]).equal(whole)


@pytest.mark.parametrize("make", READS.values(), ids=READS.keys())
@pytest.mark.parametrize("name", ["compiled", "on_device"])
def test_kernels_change_no_bit(make: Callable[[TensorInputs], Read], name: str) -> None:
    chosen = OnDevice("cpu") if name == "on_device" else pytest.importorskip("pipelines.merge.compiled").compiled
    base, *tuned = (model.bfloat16() for model in some(2, (150, 301)))
    x = inputs_of(base, tuned)
    assert make(x._replace(kernels=chosen))(0, x.elements).equal(make(x)(0, x.elements))


@method
def test_permuting_units_alike_commutes_with_merging(merge) -> None:
    models = apart(3, (12, 9))
    generator = torch.Generator().manual_seed(5)
    rows, columns = torch.randperm(12, generator=generator), torch.randperm(9, generator=generator)
    base, *tuned = (model[rows][:, columns] for model in models)
    assert_close(merge(base, tuned), merge(models[0], models[1:])[rows][:, columns])


def test_gram_is_exact_and_treats_vectors_alike() -> None:
    models = apart(3, (600_001,))
    products = gram([stored(model) for model in models], 600_001)
    vectors = np.stack(numbers(*models))
    assert_close(products, vectors @ vectors.T, 1e-10)
    order = [2, 0, 1]
    again = gram([stored(models[index]) for index in order], 600_001)
    assert again.equal(products[order][:, order])
    assert products.equal(products.T)


# Model Stock


def test_model_stock_orthogonal_task_vectors_give_the_base() -> None:
    base = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    tuned = [base.clone() for _ in range(3)]
    for row, model in enumerate(tuned):
        model[row] += 1.0
    assert model_stock(base, tuned).equal(base)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_model_stock_agrees_with_the_definition(count: int) -> None:
    base, shared, *noise = apart(count + 2)
    tuned = [base + shared + 0.7 * each for each in noise]
    origin, *models = numbers(base, *tuned)
    deltas = [(model - origin).ravel() for model in models]
    pairs = [
        deltas[i] @ deltas[j] / np.linalg.norm(deltas[i]) / np.linalg.norm(deltas[j])
        for i in range(count)
        for j in range(i)
    ]
    cosine = np.mean(pairs)
    t = count * cosine / (1 + (count - 1) * cosine)
    assert count > 2 or t == pytest.approx(2 * cosine / (1 + cosine))
    assert_close(model_stock(base, tuned), t * np.mean(models, 0) + (1 - t) * origin)
    assert model_stock(base, tuned[::-1]).allclose(model_stock(base, tuned), atol=1e-6)


def test_model_stock_contradicting_task_vectors_give_the_base() -> None:
    base, delta = apart(2)
    assert model_stock(base, [base + delta, base - delta]).equal(base)


def test_model_stock_untouched_tensor_is_the_base() -> None:
    base = apart(1)[0]
    assert model_stock(base, [base, base, base]).equal(base)
    assert model_stock(base, [base + 1, base]).equal(base)


# Slerp


@pytest.mark.parametrize("dtype", DTYPES)
def test_slerp_ends_are_bitwise_the_models(dtype: torch.dtype) -> None:
    first, second = (tensor.to(dtype) for tensor in apart(2))
    assert bits(slerp(first, second, 0.0).to(dtype)) == bits(first)
    assert bits(slerp(first, second, 1.0).to(dtype)) == bits(second)


@settings(deadline=None, max_examples=40)
@given(st.floats(0.01, 0.99), st.floats(1e-3, 3.0), st.floats(0.1, 10))
def test_slerp_follows_the_arc(t: float, angle: float, stretch: float) -> None:
    flat, other = numbers(*apart(2, (400,)))
    flat /= np.linalg.norm(flat)
    other -= (other @ flat) * flat
    other /= np.linalg.norm(other)
    first = torch.tensor(flat, dtype=torch.float32)
    second = torch.tensor(stretch * (np.cos(angle) * flat + np.sin(angle) * other), dtype=torch.float32)
    expected = (np.sin((1 - t) * angle) * flat + np.sin(t * angle) * second.double().numpy()) / np.sin(angle)
    assert_close(slerp(first, second, t), expected, 3e-5)
    assert_close(slerp(second, first, 1 - t), expected, 3e-5)


@pytest.mark.parametrize("t", [0.1, 0.5, 0.8])
def test_slerp_of_equal_norms_keeps_the_norm(t: float) -> None:
    first, second = (tensor / tensor.norm() for tensor in apart(2))
    assert slerp(first, second, t).norm().item() == pytest.approx(1, abs=1e-6)


def test_slerp_goes_from_the_base_to_one_model_and_from_one_to_another() -> None:
    base, first, second = apart(3)
    to_one = slerp_read(inputs_of(base, [first]), [1.0], Slerp(kind="slerp", t=0.25))
    to_other = slerp_read(inputs_of(base, [first, second]), [1.0, 1.0], Slerp(kind="slerp", t=0.25))
    assert to_one(0, 37 * 53).equal(slerp(base, first, 0.25).view(-1))
    assert to_other(0, 37 * 53).equal(slerp(first, second, 0.25).view(-1))


def test_slerp_between_opposite_and_zero_is_straight() -> None:
    model = apart(1)[0]
    assert_close(slerp(model, -model, 0.25), 0.5 * model.double())
    assert_close(slerp(torch.zeros_like(model), model, 0.25), 0.25 * model.double())
    assert slerp(model, -model, 0.5).abs().max() == 0
    nearly = -model + 0.01 * apart(1, seed=1)[0]
    assert_close(slerp(model, nearly, 0.25), 0.75 * model.double() + 0.25 * nearly.double())


# Nuslerp


@pytest.mark.parametrize("scope", ["tensor", "row"])
@pytest.mark.parametrize("weights", [[1.0, 1.0], [0.2, 0.6]])
def test_nuslerp_agrees_with_the_definition(scope: str, weights: list[float]) -> None:
    base, *tuned = some(2, (11, 40))
    origin, *models = numbers(base, *tuned)
    t = weights[1] / sum(weights)
    rows = [(model - origin).reshape((11, 40) if scope == "row" else (1, 440)) for model in models]
    expected = []
    for first, second in zip(*rows, strict=True):
        lengths = np.linalg.norm(first), np.linalg.norm(second)
        angle = np.arccos(first @ second / lengths[0] / lengths[1])
        ends = np.sin((1 - t) * angle) * first / lengths[0] + np.sin(t * angle) * second / lengths[1]
        expected.append(((1 - t) * lengths[0] + t * lengths[1]) * ends / np.sin(angle))
    result = nuslerp(base, tuned, weights, scope)
    assert_close(result, origin + np.concatenate(expected).reshape(11, 40))
    assert nuslerp(base, tuned[::-1], weights[::-1], scope).allclose(result, atol=1e-6)
    assert_close(nuslerp(base, tuned, [8 * weight for weight in weights], scope), result)


def test_nuslerp_scopes_agree_on_one_row() -> None:
    base, *tuned = some(2, (90,))
    assert nuslerp(base, tuned, [1, 2], "row").equal(nuslerp(base, tuned, [1, 2]))
    wide = [tensor[None] for tensor in (base, *tuned)]
    assert_close(nuslerp(wide[0], wide[1:], [1, 2], "row")[0], nuslerp(base, tuned, [1, 2]))


@pytest.mark.parametrize("scope", ["tensor", "row"])
def test_nuslerp_weight_of_zero_leaves_the_other_model(scope: str) -> None:
    base, first, second = some(2)
    assert nuslerp(base, [first, second], [0.7, 0.0], scope).equal(first)
    assert nuslerp(base, [first, second], [0.0, 0.7], scope).equal(second)
    with pytest.raises(ValueError, match="sum to 0"):
        nuslerp(base, [first, second], [0.0, 0.0], scope)


@pytest.mark.parametrize("scope", ["tensor", "row"])
def test_nuslerp_without_an_arc_is_straight(scope: str) -> None:
    base, delta = apart(2)
    for first, second in [(delta, -delta), (delta, 0 * delta), (delta, 3 * delta)]:
        expected = base.double() + 0.75 * first.double() + 0.25 * second.double()
        assert_close(nuslerp(base, [base + first, base + second], [3.0, 1.0], scope), expected, 2e-6)


def test_nuslerp_length_is_between_those_of_the_task_vectors() -> None:
    base, first, second = apart(3)
    merged = nuslerp(base, [base + first, base + 5 * second], [1.0, 1.0])
    assert (merged - base).norm().item() == pytest.approx((first.norm() + 5 * second.norm()).item() / 2, rel=1e-5)


# Karcher


def karcher_by_hand(models: list[np.ndarray], weights: list[float]) -> np.ndarray:
    """Steps on the vectors themselves."""
    flat = [model.ravel() for model in models]
    shares = np.array(weights) / sum(weights)
    units = [vector / np.linalg.norm(vector) for vector in flat]
    mean = sum(share * unit for share, unit in zip(shares, units, strict=True))
    mean /= np.linalg.norm(mean)
    for _ in range(200):
        step = np.zeros_like(mean)
        for share, unit in zip(shares, units, strict=True):
            angle = np.arccos(np.clip(mean @ unit, -1, 1))
            across = unit - np.cos(angle) * mean
            if np.linalg.norm(across) > 0:
                step += share * angle * across / np.linalg.norm(across)
        length = np.linalg.norm(step)
        if length < 1e-14:
            break
        mean = np.cos(length) * mean + np.sin(length) * step / length
    return (mean * sum(s * np.linalg.norm(v) for s, v in zip(shares, flat, strict=True))).reshape(models[0].shape)


@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0], [0.5, 3.0, 1.0]])
@pytest.mark.parametrize("models", [apart(3), some(2), [5 * each for each in apart(3, (4, 2), seed=2)]])
def test_karcher_agrees_with_steps_on_vectors(models: list[torch.Tensor], weights: list[float]) -> None:
    assert_close(karcher(models, weights), karcher_by_hand(numbers(*models), weights), 5e-6)


def test_karcher_of_two_is_slerp_for_equal_norms() -> None:
    first, second = (tensor / tensor.norm() for tensor in apart(2))
    for t in (0.2, 0.5, 0.9):
        assert_close(karcher([first, second], [1 - t, t]), slerp(first, second, t).double())


def test_karcher_order_and_scale_of_weights_do_not_matter() -> None:
    models, weights = apart(4), [1.0, 2.0, 0.5, 1.5]
    expected = karcher(models, weights)
    assert_close(karcher(models[::-1], weights[::-1]), expected)
    assert_close(karcher(models, [7 * weight for weight in weights]), expected)


def test_karcher_model_of_weight_zero_is_not_read() -> None:
    first, second, third = apart(3)
    assert karcher([first, second * torch.nan, third], [1, 0, 2]).equal(karcher([first, third], [1, 2]))
    assert karcher([first, second * torch.nan], [0.1, 0]).equal(first)


def test_karcher_zero_counts_with_its_length_only() -> None:
    model = apart(1)[0]
    assert_close(karcher([model, torch.zeros_like(model)], [3, 1]), 0.75 * model.double())
    assert karcher([0 * model, 0 * model], [1, 1]).abs().max() == 0


def test_karcher_directions_that_cancel_give_the_plain_mean() -> None:
    model = apart(1)[0]
    assert_close(karcher([3 * model, -model], [1, 1]), model.double())
    assert_close(karcher([model, -model], [3, 1]), model.double())


# mergekit, in float32


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_slerp_agrees_with_mergekit_beyond_two_degrees(t: float) -> None:
    first, second = apart(2)
    assert_close(slerp(first, second, t), merge_tensors([first, second], "slerp", parameters={"t": t}, base_index=0))


@pytest.mark.parametrize("scope", ["tensor", "row"])
def test_nuslerp_agrees_with_mergekit_for_equal_lengths(scope: str) -> None:
    base, *deltas = apart(3)
    whole = scope == "tensor"
    tuned = [base + delta / delta.norm(dim=None if whole else 1, keepdim=True) for delta in deltas]
    parameters = {"weight": [1.0, 2.0], "nuslerp_flatten": whole}
    theirs = merge_tensors([base, *tuned], "nuslerp", parameters=parameters, base_index=0)
    assert_close(nuslerp(base, tuned, [1.0, 2.0], scope), theirs)


def test_karcher_agrees_with_mergekit_for_equal_weights() -> None:
    models = apart(3)
    theirs = merge_tensors(models, "karcher", parameters={"max_iter": 100, "tol": 1e-6})
    assert_close(karcher(models, [1, 1, 1]), theirs, 1e-5)


@pytest.mark.parametrize("count", [2, 4])
def test_model_stock_agrees_with_mergekit_for_agreeing_task_vectors(count: int) -> None:
    base, shared, *noise = apart(count + 2)
    tuned = [base + shared + each for each in noise]
    assert_close(model_stock(base, tuned), merge_tensors([base, *tuned], "model_stock", base_index=0))


# Folders


@pytest.mark.parametrize(
    "settings_",
    [
        {"kind": "model_stock"},
        {"kind": "slerp", "t": [0.2, 0.8]},
        {"kind": "nuslerp", "scope": "row"},
        {"kind": "karcher"},
    ],
    ids=lambda settings_: settings_["kind"],
)
def test_folders_merge_to_the_same_bytes_with_any_number_of_threads(
    pico_base: Path, pico_tuned, tmp_path: Path, settings_: dict
) -> None:
    members = {pico_tuned[0]: 1.0, pico_tuned[1]: 1.0}
    one, _ = merged(tmp_path / "one", pico_base, members, method=settings_, threads=1)
    many, _ = merged(tmp_path / "many", pico_base, members, method=settings_, threads=3)
    assert files(one) == files(many)
    assert not same(one, pico_base)


@pytest.mark.parametrize("kind", ["model_stock", "slerp", "nuslerp", "karcher"])
def test_folder_merged_with_its_copy_is_itself(pico_base: Path, pico_tuned, tmp_path: Path, kind: str) -> None:
    first = cast(pico_tuned[0], tmp_path / "first", torch.bfloat16)
    second = cast(pico_tuned[0], tmp_path / "second", torch.bfloat16)
    base = cast(pico_base, tmp_path / "base", torch.bfloat16)
    out, _ = merged(tmp_path / "out", base, {first: 1.0, second: 1.0}, method={"kind": kind})
    assert same(out, first)


def test_folder_slerp_of_one_adapter_ends_at_the_adapted_model(pico_base: Path, lora: Path, tmp_path: Path) -> None:
    adapted, _ = merged(tmp_path / "adapted", pico_base, {lora: 1.0}, method={"kind": "task_arithmetic"})
    out, _ = merged(tmp_path / "out", pico_base, {lora: 1.0}, method={"kind": "slerp", "t": 1.0})
    assert same(out, adapted)
    start, _ = merged(tmp_path / "start", pico_base, {lora: 1.0}, method={"kind": "slerp", "t": 0.0})
    assert same(start, pico_base)
