"""What must hold of every elementwise method whatever the numbers: identities, symmetries and slices."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.merge.kinds import Ties
from pipelines.merge.linear import linear
from pipelines.merge.reads import spans, whole
from pipelines.merge.ties import model_bounds, ties_read
from tests.unit.merge.elementwise import (
    CASES,
    DTYPES,
    MEANS,
    RANDOM,
    SUMS,
    bits,
    dtypes,
    dyadic,
    grid,
    inputs,
    merge,
    read_of,
    seeds,
    shapes,
    with_all,
)

PROPERTY = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
WITH_LAMBDA = [case for case in CASES if case not in ("linear", "interpolate")]
SEVERAL = [case for case in CASES if case != "interpolate"]


def any_bits(shape: Sequence[int], dtype: torch.dtype, seed: int) -> torch.Tensor:
    """Finite numbers of every size, zeros of both signs and subnormals among them."""
    generator = torch.Generator().manual_seed(seed)
    width = torch.int32 if dtype == torch.float32 else torch.int16
    limits = torch.iinfo(width)
    drawn = torch.randint(limits.min, limits.max, tuple(shape), generator=generator, dtype=width).view(dtype)
    special = torch.tensor([0.0, -0.0], dtype=dtype)[torch.randint(2, tuple(shape), generator=generator)]
    return torch.where(torch.isfinite(drawn) & (torch.rand(tuple(shape), generator=generator) > 0.1), drawn, special)


@pytest.mark.parametrize("case", CASES)
@given(shape=shapes, dtype=dtypes, seed=seeds)
@PROPERTY
def test_one_model_whole_is_returned_bitwise(case: str, shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> None:
    base, tuned = any_bits(shape, dtype, seed), any_bits(shape, dtype, seed + 1)
    merged = merge(with_all(case), base, [tuned])
    assert merged.shape == base.shape and merged.dtype == torch.float32
    assert bits(merged.to(dtype)) == bits(tuned)


@pytest.mark.parametrize("case", WITH_LAMBDA)
@given(shape=shapes, dtype=dtypes, seed=seeds, count=st.integers(1, 3))
@PROPERTY
def test_lambda_zero_is_the_base_bitwise(
    case: str, shape: tuple[int, ...], dtype: torch.dtype, seed: int, count: int
) -> None:
    base = any_bits(shape, dtype, seed)
    # Not so large that a task vector is infinite: nothing times infinity is no number.
    tuned = [any_bits(shape, dtype, seed + 1 + index).clamp(-100, 100) for index in range(count)]
    base = torch.where(base.abs() < 1e30, base, torch.tensor(-0.0, dtype=dtype))
    merged = merge({**CASES[case], "lambda": 0.0}, base, tuned)
    assert bits(merged.to(dtype)) == bits(base)


@pytest.mark.parametrize("dtype", DTYPES)
def test_interpolation_by_zero_is_the_base_bitwise(dtype: torch.dtype) -> None:
    base, tuned = any_bits((9, 5), dtype, 1), any_bits((9, 5), dtype, 2)
    assert bits(merge({"kind": "interpolate", "alpha": 0.0}, base, [tuned]).to(dtype)) == bits(base)


def test_task_arithmetic_of_weight_minus_one_mirrors_the_model() -> None:
    base, tuned = grid((7, 5), 1, 2)
    assert merge({"kind": "task_arithmetic"}, base, [tuned], [-1.0]).equal(2 * base - tuned)


@pytest.mark.parametrize("case", [case for case in MEANS if case != "linear"])
@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_copies_merge_to_the_model_bitwise(case: str, count: int, dtype: torch.dtype) -> None:
    base, tuned = (tensor.to(dtype) for tensor in grid((8, 6), 3, 2))
    assert bits(merge(with_all(case), base, [tuned] * count).to(dtype)) == bits(tuned)


@pytest.mark.parametrize("case", [case for case in MEANS if case not in RANDOM])
def test_copies_merge_to_what_one_of_them_does(case: str) -> None:
    base, tuned = grid((8, 6), 4, 2)
    assert merge(CASES[case], base, [tuned] * 3, [2.0, 0.5, 1.0]).equal(merge(CASES[case], base, [tuned]))


@pytest.mark.parametrize("case", SEVERAL)
@given(shape=shapes, seed=seeds, weights=st.lists(dyadic, min_size=3, max_size=3))
@PROPERTY
def test_order_of_the_models_changes_nothing(
    case: str, shape: tuple[int, ...], seed: int, weights: list[float]
) -> None:
    base, one, two, three = grid(shape, seed, 4)
    if case in ("linear", "della", "della-sum", "sce"):
        # Their products are rounded, so that only sums of two are the same in any order.
        left = merge(CASES[case], base, [one, two], weights[:2], models="ab")
        right = merge(CASES[case], base, [two, one], weights[1::-1], models="ba")
    else:
        left = merge(CASES[case], base, [one, two, three], weights, models="abc")
        right = merge(CASES[case], base, [three, one, two], [weights[2], *weights[:2]], models="cab")
    assert left.equal(right)


@pytest.mark.parametrize("case", [case for case in MEANS if case != "sce"])
@pytest.mark.parametrize("factor", [0.25, 8.0])
def test_scaled_weights_of_a_mean_change_nothing(case: str, factor: float) -> None:
    base, *tuned = grid((8, 6), 5, 4)
    weights = [1.0, 0.7, 0.2]
    scaled = [factor * weight for weight in weights]
    assert merge(CASES[case], base, tuned, weights).equal(merge(CASES[case], base, tuned, scaled))


@pytest.mark.parametrize("case", SUMS)
@pytest.mark.parametrize("factor", [0.25, 8.0])
def test_scaled_weights_of_a_sum_are_a_larger_lambda(case: str, factor: float) -> None:
    base, *tuned = grid((8, 6), 6, 4)
    weights = [1.0, 0.7, 0.2]
    scaled = [factor * weight for weight in weights]
    larger = merge({**CASES[case], "lambda": factor}, base, tuned, weights)
    assert merge(CASES[case], base, tuned, scaled).equal(larger)


@pytest.mark.parametrize("case", CASES)
@given(shape=shapes, seed=seeds, shift=st.integers(-8, 8), scale=st.sampled_from([-2.0, 0.5, 4.0]))
@PROPERTY
def test_models_moved_alike_move_the_result(
    case: str, shape: tuple[int, ...], seed: int, shift: int, scale: float
) -> None:
    base, *tuned = grid(shape, seed, 3)
    merged = merge(CASES[case], base, tuned)
    moved = merge(CASES[case], base + shift, [model + shift for model in tuned])
    torch.testing.assert_close(moved, merged + shift, atol=1e-5, rtol=1e-6)
    if scale > 0 or case in ("linear", "interpolate", "task_arithmetic", "dare", "della-sum", "breadcrumbs"):
        # An election that is a tie goes to plus, which is not the same after a change of sign.
        scaled = merge(CASES[case], base * scale, [model * scale for model in tuned])
        torch.testing.assert_close(scaled, merged * scale, atol=1e-5, rtol=1e-6)


@given(seed=seeds, weights=st.lists(st.floats(0.1, 10), min_size=3, max_size=3))
@PROPERTY
def test_soup_of_soups_is_the_soup(seed: int, weights: list[float]) -> None:
    one, two, three = grid((5, 7), seed, 3)
    nested = linear([linear([one, two], weights[:2]), three], [weights[0] + weights[1], weights[2]])
    torch.testing.assert_close(nested, linear([one, two, three], weights), atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("case", [case for case in SEVERAL if case != "sce"])
def test_model_of_weight_zero_adds_nothing(case: str) -> None:
    base, one, two, odd = grid((8, 6), 7, 4)
    alone = merge(CASES[case], base, [one, two], [1.0, 0.5])
    assert merge(CASES[case], base, [one, two, odd], [1.0, 0.5, 0.0]).equal(alone)


@pytest.mark.parametrize("case", [case for case in CASES if case not in RANDOM])
@given(seed=seeds, order=st.permutations(range(6)), across=st.permutations(range(4)))
@PROPERTY
def test_hidden_units_in_another_order_are_merged_in_that_order(
    case: str, seed: int, order: list[int], across: list[int]
) -> None:
    base, *tuned = grid((6, 4), seed, 4)
    weights = [1.0, 0.5, 2.0]

    def permuted(tensor: torch.Tensor) -> torch.Tensor:
        return tensor[order][:, across]

    after = permuted(merge(CASES[case], base, tuned, weights))
    assert merge(CASES[case], permuted(base), [permuted(model) for model in tuned], weights).equal(after)


@pytest.mark.parametrize("case", ["linear", "interpolate", "task_arithmetic", "ties-row-mass", "ties-row-count"])
def test_tensor_split_into_rows_merges_row_by_row(case: str) -> None:
    base, *tuned = grid((5, 9), 8, 4)
    whole_tensor = merge(CASES[case], base, tuned)
    rows = [merge(CASES[case], base[[at]], [model[[at]] for model in tuned]) for at in range(5)]
    assert torch.cat(rows).equal(whole_tensor)


@pytest.mark.parametrize("density", [0.0, 0.1, 0.3, 1.0])
def test_ties_global_does_not_see_where_tensors_end(density: float) -> None:
    base, *tuned = grid((6, 9), 9, 3)
    parts = [inputs(base[rows], [model[rows] for model in tuned]) for rows in (slice(0, 1), slice(1, 4), slice(4, 6))]
    together = inputs(base, tuned)
    for index in range(2):
        assert model_bounds(parts, density, index) == model_bounds([together], density, index)
    bounds = tuple(model_bounds(parts, density, index) for index in range(2))
    method = Ties(kind="ties", density=density, scope="global")
    split = [whole(ties_read(part._replace(bounds=bounds), [1.0, 1.0], method), part.shape) for part in parts]
    assert torch.cat(split).equal(whole(ties_read(together._replace(bounds=bounds), [1.0, 1.0], method), base.shape))


@pytest.mark.parametrize("case", CASES)
@given(shape=shapes, dtype=dtypes, seed=seeds, data=st.data())
@PROPERTY
def test_slices_are_the_same_bits_however_they_are_cut(
    case: str, shape: tuple[int, ...], dtype: torch.dtype, seed: int, data: st.DataObject
) -> None:
    base, *tuned = (tensor.to(dtype) for tensor in grid(shape, seed, 4))
    tuned = tuned[:1] if case == "interpolate" else tuned
    read = read_of(CASES[case], inputs(base, tuned), [1.0, 0.7, 0.2][: len(tuned)])
    size = base.numel()
    cuts = sorted({0, size, *data.draw(st.lists(st.integers(0, size), max_size=6))})
    pieces = [read(start, stop).clone() for start, stop in pairwise(cuts)]
    assert bits(torch.cat([torch.empty(0), *pieces])) == bits(read(0, size))


@pytest.mark.parametrize("case", CASES)
def test_slices_read_by_many_threads_are_the_same_bits(case: str) -> None:
    shape = (523, 129)
    base, *tuned = (tensor.bfloat16() for tensor in grid(shape, 11, 4))
    tuned = tuned[:1] if case == "interpolate" else tuned
    read = read_of(CASES[case], inputs(base, tuned), [1.0, 0.7, 0.2][: len(tuned)])
    expected = whole(read, shape).view(-1)
    cuts = list(spans(base.numel(), 5000))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda span: read(*span).clone(), reversed(cuts)))
    assert bits(torch.cat(found[::-1])) == bits(expected)
