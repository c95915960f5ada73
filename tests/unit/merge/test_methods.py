"""The merge methods on tensors, against plain numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.merge.dare import mask_key, uniform16
from pipelines.merge.dare_ties import dare_ties
from pipelines.merge.interpolate import interpolate
from pipelines.merge.kinds import Ties
from pipelines.merge.linear import linear
from pipelines.merge.methods import surveyed
from pipelines.merge.reads import TensorInputs, stored
from pipelines.merge.threshold import threshold
from pipelines.merge.ties import ties

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def some(count: int, shape: tuple[int, ...] = (37, 53), seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(shape, generator=generator)
    return [base, *(base + 0.05 * torch.randn(shape, generator=generator) for _ in range(count))]


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_linear_one_model_is_returned_bitwise(dtype: torch.dtype) -> None:
    model = some(1)[1].to(dtype)
    assert bits(linear([model], [0.3]).to(dtype)) == bits(model)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**99), max_value=2.0**99), min_size=1
    ),
    st.lists(st.floats(0.01, 100), min_size=1, max_size=6),
)
def test_linear_copies_are_returned_bitwise(values: list[float], weights: list[float]) -> None:
    model = torch.tensor(values, dtype=torch.float32)
    assert bits(linear([model] * len(weights), weights)) == bits(model)


def test_linear_weights_are_relative_to_their_sum() -> None:
    models = some(3)[1:]
    weights = [1.0, 2.5, 0.5]
    expected = np.average([model.double().numpy() for model in models], axis=0, weights=weights)
    torch.testing.assert_close(linear(models, weights).double(), torch.from_numpy(expected), atol=1e-6, rtol=1e-6)
    assert linear(models, weights).equal(linear(models, [8 * weight for weight in weights]))


def test_linear_weights_that_cancel_are_an_error() -> None:
    with pytest.raises(ValueError, match="sum to 0"):
        linear(some(2)[1:], [1, -1])


def test_linear_model_of_weight_zero_is_not_read() -> None:
    good, bad = some(1)
    assert linear([good, bad * torch.nan], [1, 0]).equal(good)


@pytest.mark.parametrize("dtype", DTYPES)
def test_interpolate_ends_are_bitwise_base_and_tuned(dtype: torch.dtype) -> None:
    base, tuned = (tensor.to(dtype) for tensor in some(1))
    assert bits(interpolate(base, tuned, 0.0).to(dtype)) == bits(base)
    assert bits(interpolate(base, tuned, 1.0).to(dtype)) == bits(tuned)
    middle = (base.double() + tuned.double()) / 2
    torch.testing.assert_close(interpolate(base, tuned, 0.5).double(), middle, atol=1e-6, rtol=1e-6)


def ties_by_hand(base, tuned, weights, density, lambda_):
    """The paper's steps, one element at a time."""
    base64 = base.numpy().astype(np.float64)
    deltas = []
    for model in tuned:
        delta = (model - base).numpy().astype(np.float64)
        k = max(1, int(density * delta.size)) if density else 0
        least = np.sort(np.abs(delta), axis=None)[-k] if k else np.inf
        deltas.append(np.where(np.abs(delta) >= least, delta, 0) if delta.ndim > 1 else delta)
    merged = base64.copy()
    for at in np.ndindex(base64.shape):
        sign = 1.0 if sum(w * d[at] for w, d in zip(weights, deltas, strict=True)) >= 0 else -1.0
        agreeing = [(w, d[at]) for w, d in zip(weights, deltas, strict=True) if d[at] * sign > 0]
        if agreeing:
            merged[at] += lambda_ * sum(w * d for w, d in agreeing) / sum(w for w, _ in agreeing)
    return merged


@pytest.mark.parametrize("density", [0.0, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0], [0.6, 0.3, 0.1]])
@pytest.mark.parametrize("shape", [(17, 23), (29,), ()])
def test_ties_agrees_with_the_definition(density: float, weights: list[float], shape: tuple[int, ...]) -> None:
    base, *tuned = some(3, shape)
    expected = ties_by_hand(base, tuned, weights, density, 0.7)
    result = ties(base, tuned, weights, density, 0.7)
    assert result.shape == base.shape
    torch.testing.assert_close(result.double(), torch.from_numpy(expected), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_ties_untrimmed_single_model_is_returned_bitwise(dtype: torch.dtype) -> None:
    base, tuned = (tensor.to(dtype) for tensor in some(1))
    assert bits(ties(base, [tuned], [0.3], 1.0).to(dtype)) == bits(tuned)
    assert bits(ties(base, [tuned] * 3, [1.0, 1.0, 1.0], 1.0).to(dtype)) == bits(tuned)


def test_ties_lambda_zero_is_the_base() -> None:
    base, *tuned = some(2)
    assert ties(base, tuned, [1, 1], 0.3, 0.0).equal(base)


def test_ties_equal_magnitudes_all_survive() -> None:
    base = torch.zeros(4, 5)
    tuned = torch.full((4, 5), 0.25)
    tuned[0, 0] = 1.0
    assert ties(base, [tuned], [1.0], 0.1).equal(tuned)


def test_ties_scaled_weights_change_nothing() -> None:
    base, *tuned = some(2)
    assert ties(base, tuned, [0.6, 0.3], 0.3).equal(ties(base, tuned, [1.2, 0.6], 0.3))


def test_ties_shapes_that_differ_are_an_error() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        ties(torch.zeros(2, 3), [torch.zeros(3, 2)], [1.0], 0.5)


@pytest.mark.parametrize("density", [0.001, 0.2, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("kind", ["normal", "quantised", "sparse", "few rows", "least", "equal", "zero"])
def test_threshold_of_a_large_tensor_is_exact(density: float, kind: str) -> None:
    size = 900_001
    values = torch.randn(size, generator=torch.Generator().manual_seed(1))
    values = {
        "normal": values,
        "quantised": (values * 4).round() / 4,
        "sparse": values * (torch.arange(size) % 7 == 0),
        "few rows": values * (torch.arange(size) > 800_000),
        "least": torch.where(torch.arange(size) % 999 == 0, 2.0**-149, 0.0),
        "equal": torch.ones(size),
        "zero": torch.zeros(size),
    }[kind]
    k = int(density * size)
    assert threshold(stored(values), size, k) == float(np.sort(values.abs().numpy())[-k])


@pytest.mark.parametrize(("density", "columns"), [(0.2, 1 << 14), (0.2, 1 << 16), (1.0, 64)])
def test_threshold_reads_once_however_wide_the_rows_and_the_share(density: float, columns: int) -> None:
    """Half of the columns are larger than the others; a bracket that misses costs a buffer of the whole tensor."""
    size = 1 << 21
    values = torch.randn(size // columns, columns, generator=torch.Generator().manual_seed(1))
    values[:, columns // 2 :] *= 3
    read: list[int] = []

    def delta(start: int, stop: int) -> torch.Tensor:
        read.append(stop - start)
        return values.view(-1)[start:stop].clone()

    found = threshold(delta, size, int(density * size))
    assert found == float(np.sort(values.abs().numpy(), axis=None)[-int(density * size)])
    assert sum(read) <= 1.2 * size


def test_ties_global_that_keeps_all_looks_for_no_bounds() -> None:
    def refuse() -> list[TensorInputs]:
        raise AssertionError("the models were read")

    assert surveyed(Ties(kind="ties", density=1.0, scope="global"), refuse) is None


def dare_by_hand(base, tuned, weights, density, lambda_, seed, name):
    level = round(density * 65536)
    total = np.zeros(base.numel())
    parts = []
    for index, model in enumerate(tuned):
        keep = uniform16(mask_key(seed, name, index), 0, base.numel()) < level
        delta = (model - base).numpy().astype(np.float64).ravel()
        parts.append(weights[index] * keep * delta * 65536 / level)
    sign = np.where(sum(parts) >= 0, 1.0, -1.0)
    for part in parts:
        total += np.where(part * sign > 0, part, 0)
    return (base.numpy().astype(np.float64).ravel() + lambda_ * total).reshape(base.shape)


@pytest.mark.parametrize("density", [0.1, 0.5])
def test_dare_ties_agrees_with_the_definition(density: float) -> None:
    base, *tuned = some(3)
    expected = dare_by_hand(base, tuned, [0.6, 0.3, 1.1], density, 0.8, 5, "w")
    result = dare_ties(base, tuned, [0.6, 0.3, 1.1], density, 0.8, seed=5, name="w")
    torch.testing.assert_close(result.double(), torch.from_numpy(expected), atol=2e-6, rtol=1e-6)


def test_dare_ties_expectation_over_seeds_is_the_task_vector() -> None:
    base, tuned = some(1, (3, 1))
    density, draws = 0.3, 4000
    total = sum((dare_ties(base, [tuned], [1.0], density, seed=seed) - base).double() for seed in range(draws)) / draws
    delta = (tuned - base).double()
    error = delta.abs() * ((1 - density) / density / draws) ** 0.5
    assert ((total - delta).abs() <= 4 * error).all()


def test_dare_ties_vectors_and_full_density_are_not_dropped() -> None:
    base, tuned = some(1, (500,))
    assert dare_ties(base, [tuned], [1.0], 0.1).equal(base + (tuned - base))
    base, tuned = some(1)
    assert dare_ties(base, [tuned], [1.0], 1.0).equal(base + (tuned - base))


def test_dare_ties_masks_differ_by_seed_name_and_model() -> None:
    keys = {mask_key(seed, name, index) for seed in (0, 1) for name in ("a", "b") for index in (0, 1)}
    masks = {uniform16(key, 0, 4000).tobytes() for key in keys}
    assert len(masks) == 8
    share = np.mean(uniform16(mask_key(0, "a", 0), 0, 100_000) < 0.3 * 65536)
    assert abs(share - 0.3) < 4 * (0.21 / 100_000) ** 0.5


@given(st.integers(0, 500), st.integers(0, 500))
def test_dare_ties_random_numbers_do_not_depend_on_the_slice(start: int, length: int) -> None:
    all_of_them = uniform16(7, 0, 1000)
    assert np.array_equal(uniform16(7, start, start + length), all_of_them[start : start + length])
