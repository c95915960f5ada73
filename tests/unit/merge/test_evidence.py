"""What is measured on models whose cosine, conflicts and subspaces are known."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import pytest
import torch

from pipelines.errors import UserError
from pipelines.merge.adapters.low_rank import LowRank
from pipelines.merge.advice.evidence import RUN, SAMPLE, Tensor, measure, product, runs
from pipelines.merge.advice.overlap import left_vectors, overlap_of
from pipelines.merge.advice.signals import Evidence
from pipelines.merge.reads import TensorInputs, inputs_of

Q = "model.layers.{}.self_attn.q_proj.weight"


def measured(base: Mapping[str, torch.Tensor], *deltas: Mapping[str, torch.Tensor]) -> Evidence:
    """Evidence on models that are `base` plus each of `deltas`, called a, b, c."""

    def open_(name: str) -> Tensor:
        return Tensor(
            inputs_of(base[name], [base[name] + one.get(name, 0) for one in deltas], name), (None,) * len(deltas)
        )

    return measure("abc"[: len(deltas)], list(base), open_)


def test_size_is_the_ratio_of_norms_overall_and_by_layer() -> None:
    base = {Q.format(0): torch.full((4, 4), 1.0), Q.format(1): torch.full((4, 4), 2.0), "norm.weight": torch.ones(16)}
    found = measured(base, {Q.format(0): torch.full((4, 4), 0.5)}).models[0]
    assert found.layers == {"0": 0.5, "1": 0.0}
    assert found.size == pytest.approx(2 / math.sqrt(16 + 64), rel=1e-3)


def test_cosine_and_ratio_are_those_of_the_whole_task_vectors() -> None:
    base = {Q.format(0): torch.zeros(2, 2), Q.format(1): torch.zeros(2, 2)}
    first = {Q.format(0): torch.tensor([[3.0, 0], [0, 0]])}
    second = {Q.format(0): torch.tensor([[6.0, 0], [0, 0]]), Q.format(1): torch.tensor([[0, 8.0], [0, 0]])}
    pair = measured(base, first, second).pairs[0]
    assert (pair.models, pair.cosine, pair.ratio) == (("a", "b"), 0.6, 3.333)


def test_model_that_is_the_base_has_no_direction() -> None:
    base = {Q.format(0): torch.ones(4, 4)}
    found = measured(base, {}, {Q.format(0): torch.eye(4)})
    assert found.models[0].size == 0 and found.models[0].unchanged == 1
    assert found.pairs[0].cosine is None and found.pairs[0].ratio is None and found.pairs[0].overlap is None


@pytest.mark.parametrize(("place", "named"), [(0, "base"), (2, "b")])
def test_broken_model_is_named(place: int, named: str) -> None:
    tensors = [torch.ones(4, 4), torch.zeros(4, 4), torch.zeros(4, 4)]
    tensors[place][1, 2] = math.nan
    base, *deltas = ({Q.format(0): tensor} for tensor in tensors)
    with pytest.raises(UserError, match=rf"{named}: tensor {Q.format(0)} holds NaN or infinite values"):
        measured(base, *deltas)


def test_conflict_counts_opposite_signs_among_the_top_fifth_of_either() -> None:
    first, second = torch.full((2, 10), 0.1), torch.full((2, 10), 0.1)
    first[0, :4] = torch.tensor([5.0, 6.0, 7.0, 8.0])
    second[0, 2:6] = torch.tensor([5.0, -6.0, 7.0, 8.0])
    pair = measured({Q.format(0): torch.zeros(2, 10)}, {Q.format(0): first}, {Q.format(0): second}).pairs[0]
    assert pair.shared == pytest.approx(2 / 6, rel=1e-3)
    assert pair.conflict == pytest.approx(1 / 6, rel=1e-3)


@pytest.mark.parametrize(("sign", "conflict"), [(1.0, 0.0), (-1.0, 1.0)])
def test_conflict_of_equal_and_of_opposed_task_vectors(sign: float, conflict: float) -> None:
    delta = torch.arange(1.0, 101).view(10, 10)
    pair = measured({Q.format(0): torch.zeros(10, 10)}, {Q.format(0): delta}, {Q.format(0): sign * delta}).pairs[0]
    assert (pair.cosine, pair.shared, pair.conflict) == (sign, 1.0, conflict)


def test_unchanged_counts_what_bfloat16_does_not_tell_apart() -> None:
    delta = torch.zeros(4, 4)
    delta[0], delta[1] = 1e-4, 0.1
    untouched = {Q.format(0): torch.ones(4, 4), Q.format(1): torch.ones(64, 4)}
    assert measured(untouched, {Q.format(0): delta}).models[0].unchanged == 0.75


def test_overlap_of_shared_half_shared_and_disjoint_outputs() -> None:
    name, eye = Q.format(0), torch.eye(16)
    base = {name: torch.zeros(16, 16)}
    low, high = {name: torch.diag(eye[:4].sum(0))}, {name: torch.diag(eye[8:12].sum(0))}
    half = {name: torch.diag(eye[2:6].sum(0))}
    pairs = {pair.models: pair for pair in measured(base, low, half, high).pairs}
    assert pairs["a", "b"].overlap == pytest.approx(0.5, abs=1e-4)
    assert pairs["a", "c"].overlap == pytest.approx(0.0, abs=1e-4)
    assert pairs["a", "b"].chance == 0.25


def test_left_vectors_are_those_of_the_svd() -> None:
    torch.manual_seed(0)
    delta = torch.randn(40, 6) @ torch.diag(torch.tensor([9.0, 7, 5, 3, 2, 1])) @ torch.randn(6, 30)
    exact = torch.linalg.svd(delta.double()).U[:, :6]
    found = left_vectors(inputs_of(torch.zeros(40, 30), [delta], "w"), 0)
    assert found.shape == (40, 6)
    assert overlap_of(found, exact)[0] == pytest.approx(1, abs=1e-6)


def test_left_vectors_of_factors_are_those_of_the_product() -> None:
    torch.manual_seed(0)
    factor = LowRank(torch.randn(40, 4), torch.randn(4, 30), 0.5)
    x = inputs_of(torch.zeros(40, 30), [0.5 * factor.left @ factor.right], "w")
    assert overlap_of(left_vectors(x, 0, factor), left_vectors(x, 0))[0] == pytest.approx(1, abs=1e-6)


def test_product_of_factors_is_that_of_the_matrices() -> None:
    torch.manual_seed(0)
    first, second = (LowRank(torch.randn(8, 2), torch.randn(2, 6), scale) for scale in (2.0, 0.5))
    dense = [one.scale * one.left @ one.right for one in (first, second)]
    assert product(first, second) == pytest.approx(float((dense[0] * dense[1]).sum()), rel=1e-5)
    assert product(first, None) == 0


def test_runs_of_a_large_tensor_are_seeded_by_its_name_and_do_not_overlap() -> None:
    large = 10 * SAMPLE + 7
    found = runs("w", large)
    assert found == runs("w", large) != runs("v", large)
    assert sum(stop - start for start, stop in found) == SAMPLE
    assert all(left[1] <= right[0] for left, right in pairwise(found))
    assert found[0][0] >= 0 and found[-1][1] <= large


def test_large_tensor_is_read_in_part_and_scaled_up() -> None:
    touched = []

    def constant(value: float) -> "Sequence[object]":
        def read(start: int, stop: int) -> torch.Tensor:
            touched.append(stop - start)
            return torch.full((stop - start,), value)

        return read  # type: ignore[return-value]

    shape = (SAMPLE, 1 << 15)
    x = TensorInputs("w", shape, ("0",), constant(2.0), (constant(3.0),), (None,), True)  # type: ignore[arg-type]
    found = measure(["a"], ["w"], lambda name: Tensor(x, (None,)))
    assert (found.models[0].size, found.sampled, found.parameters) == (0.5, SAMPLE, SAMPLE << 15)
    assert max(touched) == RUN


def test_evidence_does_not_depend_on_the_order_of_the_tensors() -> None:
    torch.manual_seed(0)
    base = {Q.format(layer): torch.randn(8, 8) for layer in range(12)}
    one, two = ({name: torch.randn(8, 8) for name in base} for _ in range(2))
    found = measured(base, one, two)
    assert found == measured(dict(reversed(base.items())), one, two)
    assert len(found.matrices) == 8
