"""The methods that decompose matrices, against numpy's singular value decomposition."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.merge.iso_c import iso_c, iso_c_read
from pipelines.merge.kinds import IsoC, Svc, TsvM
from pipelines.merge.post import posted
from pipelines.merge.reads import Read, inputs_of, stored
from pipelines.merge.spectral import KEPT, by_matrix, spectrum
from pipelines.merge.svc import svc
from pipelines.merge.task_arithmetic import task_arithmetic
from pipelines.merge.tied import is_linear_map
from pipelines.merge.tsv_m import polar, top, tsv_m, tsv_m_read
from tests.unit.merge.models import edited, files, merged, same, tensors

MATRICES = [(24, 40), (40, 24), (30, 30), (1, 9), (3, 16, 20), (2, 2, 20, 16)]
DTYPES = [torch.float32, torch.bfloat16]


def some(count: int, shape: tuple[int, ...] = (24, 40), seed: int = 0, scale: float = 0.05) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(shape, generator=generator)
    return [base, *(base + scale * torch.randn(shape, generator=generator) for _ in range(count))]


def low_rank(count: int, rank: int, shape: tuple[int, int] = (24, 40), seed: int = 0) -> list[torch.Tensor]:
    """Task vectors of a rank."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = shape
    return [
        torch.randn(rows, rank, generator=generator) @ torch.randn(rank, columns, generator=generator)
        for _ in range(count)
    ]


def assert_close(result: torch.Tensor, expected: np.ndarray | torch.Tensor, tolerance: float = 2e-6) -> None:
    torch.testing.assert_close(result.double(), torch.as_tensor(expected).double(), atol=tolerance, rtol=tolerance)


def deltas_of(base: torch.Tensor, tuned: Sequence[torch.Tensor]) -> list[np.ndarray]:
    return [model.double().numpy() - base.double().numpy() for model in tuned]


def each_matrix(function: Callable[..., np.ndarray], *stacks: np.ndarray) -> np.ndarray:
    """The function on every matrix of stacks of one shape."""
    shape = stacks[0].shape
    flat = [stack.reshape(-1, *shape[-2:]) for stack in stacks]
    return np.stack([function(*matrices) for matrices in zip(*flat, strict=True)]).reshape(shape)


# Iso-C


def iso_by_hand(matrix: np.ndarray) -> np.ndarray:
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    return s.mean() * u @ v


@pytest.mark.parametrize("shape", MATRICES)
@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0], [0.5, 2.0, 1.0]])
def test_iso_c_agrees_with_the_decomposition(shape: tuple[int, ...], weights: list[float]) -> None:
    base, *tuned = some(3, shape)
    total = sum(weight * delta for weight, delta in zip(weights, deltas_of(base, tuned), strict=True))
    expected = base.double().numpy() + 0.7 * each_matrix(iso_by_hand, total)
    assert_close(iso_c(base, tuned, weights, 0.7), expected)
    assert_close(iso_c(base, tuned[::-1], weights[::-1], 0.7), expected)


def test_iso_c_makes_singular_values_equal_and_keeps_their_sum() -> None:
    base, *tuned = some(2, (50, 30))
    before = np.linalg.svd(sum(deltas_of(base, tuned)), compute_uv=False)
    after = torch.linalg.svdvals(iso_c(base, tuned, [1, 1]).double() - base.double()).numpy()
    np.testing.assert_allclose(after, before.mean(), rtol=1e-5)


def test_iso_c_is_accurate_for_ill_conditioned_matrices() -> None:
    u, _, v = np.linalg.svd(np.random.default_rng(0).normal(size=(40, 60)), full_matrices=False)
    matrix = u @ np.diag(np.logspace(0, -4, 40)) @ v
    base = torch.zeros(40, 60)
    # The smallest directions are as exact as fp32 holds them.
    assert_close(iso_c(base, [torch.tensor(matrix, dtype=torch.float32)], [1.0]), iso_by_hand(matrix), 2e-4)


def test_iso_c_leaves_out_directions_that_no_task_has() -> None:
    base = torch.zeros(24, 40)
    tuned = low_rank(2, 3)
    result = iso_c(base, tuned, [1, 1])
    before = np.linalg.svd(sum(deltas_of(base, tuned)), compute_uv=False)[:6]
    after = np.linalg.svd(result.double().numpy(), compute_uv=False)
    np.testing.assert_allclose(after[:6], before.mean(), rtol=1e-5)
    assert after[6:].max() < 1e-4


# TSV-M


def tsv_by_hand(count: int, weights: list[float]) -> Callable[..., np.ndarray]:
    def merge(*deltas: np.ndarray) -> np.ndarray:
        parts = [np.linalg.svd(delta, full_matrices=False) for delta in deltas]
        u = np.concatenate([part[0][:, :count] for part in parts], 1)
        s = np.concatenate([weight * part[1][:count] for weight, part in zip(weights, parts, strict=True)])
        v = np.concatenate([part[2][:count] for part in parts])
        (a, _, b), (c, _, d) = (np.linalg.svd(side, full_matrices=False) for side in (u, v))
        return a @ b @ np.diag(s) @ c @ d

    return merge


@pytest.mark.parametrize("shape", [shape for shape in MATRICES if shape != (1, 9)])
@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0], [0.5, 2.0, 1.0]])
@pytest.mark.parametrize("density", [None, 0.1, 0.3])
def test_tsv_m_agrees_with_the_decomposition(shape: tuple[int, ...], weights: list[float], density) -> None:
    base, *tuned = some(3, shape)
    count = max(1, int((density or 1 / 3) * min(shape[-2:])))
    expected = each_matrix(tsv_by_hand(count, weights), *deltas_of(base, tuned))
    assert_close(tsv_m(base, tuned, weights, 0.7, density), base.double().numpy() + 0.7 * expected)
    assert_close(tsv_m(base, tuned[::-1], weights[::-1], 0.7, density), base.double().numpy() + 0.7 * expected)


def test_tsv_m_tasks_without_overlap_are_added_up() -> None:
    base = torch.zeros(6, 8)
    first, second = base.clone(), base.clone()
    first[:3, :4] = low_rank(1, 3, (3, 4))[0]
    second[3:, 4:] = low_rank(1, 3, (3, 4), seed=1)[0]
    assert_close(tsv_m(base, [first, second], [1, 1]), first + second)


@pytest.mark.parametrize("copies", [2, 3])
def test_tsv_m_copies_count_once(copies: int) -> None:
    base = torch.zeros(24, 40)
    tuned = low_rank(1, 4)[0]
    assert_close(tsv_m(base, [tuned] * copies, [1.0] * copies), tuned, 1e-5)


def test_tsv_m_model_of_weight_zero_is_left_out() -> None:
    base, first, second, third = some(3)
    left = tsv_m(base, [first, second * torch.nan, third], [1, 0, 2])
    assert left.equal(tsv_m(base, [first, third], [1, 2]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_tsv_m_one_model_whole_is_that_model(dtype: torch.dtype) -> None:
    base, model = (tensor.to(dtype) for tensor in some(1))
    assert tsv_m(base, [model], [1.0]).to(dtype).equal(model)
    assert_close(tsv_m(base, [model], [0.5]), base.double() + (model.double() - base.double()) / 2)


def test_tsv_m_density_is_of_the_singular_vectors() -> None:
    base, model = some(1, (20, 30))
    kept = tsv_m(base, [model], [1.0], density=0.25) - base
    assert torch.linalg.matrix_rank(kept.double(), rtol=1e-4) == 5


# SVC


def svc_by_hand(weights: list[float], alpha: float) -> Callable[..., np.ndarray]:
    def calibrate(merged: np.ndarray, *deltas: np.ndarray) -> np.ndarray:
        u, s, v = np.linalg.svd(merged, full_matrices=False)
        for r in range(len(s)):
            response = u[:, r] @ merged
            own = [u[:, r] @ delta for delta in deltas]
            found = [max(alpha, response @ each / (each @ each)) for each in own]
            s[r] *= sum(map(abs, weights)) / sum(abs(w) * f for w, f in zip(weights, found, strict=True))
        return u @ np.diag(s) @ v

    return calibrate


@pytest.mark.parametrize("shape", MATRICES)
@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0], [0.5, -2.0, 1.0]])
@pytest.mark.parametrize("alpha", [1.0, 0.2])
def test_svc_agrees_with_the_decomposition(shape: tuple[int, ...], weights: list[float], alpha: float) -> None:
    base, *tuned = some(3, shape)
    merged_ = task_arithmetic(base, tuned, weights)
    origin, target = base.double().numpy(), merged_.double().numpy()
    expected = each_matrix(svc_by_hand(weights, alpha), target - origin, *deltas_of(base, tuned))
    assert_close(svc(base, tuned, merged_, weights, alpha), origin + expected, 1e-5)


@pytest.mark.parametrize("copies", [2, 4])
def test_svc_counts_copies_once(copies: int) -> None:
    base, model = some(1)
    tuned = [model] * copies
    assert_close(svc(base, tuned, task_arithmetic(base, tuned, [1.0] * copies), [1.0] * copies), model)


def test_svc_leaves_alone_what_is_not_inflated() -> None:
    base, first, second = some(2)
    assert svc(base, [first], first, [1.0]).equal(first)
    mean = task_arithmetic(base, [first, second], [0.5, 0.5])
    assert_close(svc(base, [first, second], mean, [0.5, 0.5]), mean)
    apart = base.clone(), base.clone()
    apart[0][:12, :20] += 1
    apart[1][12:, 20:] += 1
    both = task_arithmetic(base, apart, [1, 1])
    assert svc(base, apart, both, [1, 1]).equal(both)


def test_svc_only_shrinks_singular_values_with_alpha_one() -> None:
    base, *tuned = some(3)
    merged_ = task_arithmetic(base, tuned, [1, 1, 1])
    before, after = (
        torch.linalg.svdvals(tensor.double() - base.double())
        for tensor in (merged_, svc(base, tuned, merged_, [1, 1, 1]))
    )
    assert (after <= before * (1 + 1e-5)).all()
    assert after.sum() < 0.99 * before.sum()


def test_svc_rounding_in_a_task_erases_no_direction_of_another() -> None:
    base = torch.zeros(24, 40)
    first, second = base.clone(), base.clone()
    first[:12, :20] = low_rank(1, 4, (12, 20))[0]
    second[12:, 20:] = low_rank(1, 4, (12, 20), seed=1)[0]
    second[:12, :20] = 1e-9 * first[:12, :20]
    both = first + second
    assert_close(svc(base, [first, second], both, [1, 1]), both)


def test_post_without_one_is_the_merge_itself() -> None:
    base, *tuned = some(2)
    x, read = inputs_of(base, tuned), stored(tuned[0])
    assert posted(None, x, read, [1, 1]) is read
    calibrated = posted(Svc(kind="svc", alpha=0.3), x, read, [1, 1])(0, base.numel())
    assert calibrated.equal(svc(base, tuned, tuned[0], [1, 1], 0.3).view(-1))


# All


METHODS: dict[str, Callable[..., torch.Tensor]] = {
    "iso_c": iso_c,
    "tsv_m": tsv_m,
    "svc": lambda base, tuned, weights, lambda_=1.0: svc(
        base, tuned, task_arithmetic(base, tuned, weights, lambda_), weights, 0.5
    ),
}
method = pytest.mark.parametrize("merge", METHODS.values(), ids=METHODS.keys())


@method
@settings(deadline=None, max_examples=40)
@given(
    shape=st.sampled_from([(), (5,), (0, 3), (3, 0), (1, 1), (5, 7), (7, 5), (2, 3, 4)]),
    seeds=st.tuples(*[st.integers(0, 3)] * 3),
    sizes=st.tuples(*[st.sampled_from([0.0, 1.0, -1.0, 1e-5, 1e5])] * 3),
    dtype=st.sampled_from(DTYPES),
)
def test_any_models_give_a_finite_tensor_of_their_shape(merge, shape, seeds, sizes, dtype: torch.dtype) -> None:
    base, *tuned = ((size * some(0, shape, seed)[0]).to(dtype) for seed, size in zip(seeds, sizes, strict=True))
    result = merge(base, tuned, [1.0, 0.5])
    assert result.shape == base.shape
    assert result.dtype == torch.float32
    assert result.isfinite().all()


@method
@pytest.mark.parametrize("dtype", DTYPES)
def test_lambda_zero_and_no_change_are_the_base(merge, dtype: torch.dtype) -> None:
    base, *tuned = (tensor.to(dtype) for tensor in some(2))
    assert merge(base, tuned, [1, 1], 0.0).to(dtype).equal(base)
    assert merge(base, [base, base], [1, 1]).to(dtype).equal(base)


@method
def test_permuting_units_alike_commutes_with_merging(merge) -> None:
    models = some(3, (12, 9))
    generator = torch.Generator().manual_seed(5)
    rows, columns = torch.randperm(12, generator=generator), torch.randperm(9, generator=generator)
    base, *tuned = (model[rows][:, columns] for model in models)
    weights = [1.0, 0.5, 2.0]
    assert_close(merge(base, tuned, weights), merge(models[0], models[1:], weights)[rows][:, columns])


@pytest.mark.parametrize("merge", [iso_c, tsv_m])
def test_scaling_all_weights_scales_what_is_added(merge) -> None:
    base, *tuned = some(3)
    once = merge(base, tuned, [1.0, 0.5, 2.0]).double() - base.double()
    assert_close(merge(base, tuned, [3.0, 1.5, 6.0]), base.double() + 3 * once)
    assert_close(merge(base, tuned, [1.0, 0.5, 2.0], 3.0), base.double() + 3 * once)


@method
def test_nan_stays_where_it_is(merge) -> None:
    base, first, second = some(2)
    first[2, 3] = torch.nan
    bad = merge(base, [first, second], [1, 1]).isnan()
    assert bad[2, 3]
    assert bad.sum() == 1


@pytest.mark.parametrize("merge", [iso_c, tsv_m])
def test_vectors_get_the_mean_of_the_task_vectors(merge) -> None:
    base, first, second = some(2, (31,))
    expected = base.double() + 0.5 * (0.75 * (first - base).double() + 0.25 * (second - base).double())
    assert_close(merge(base, [first, second], [3.0, 1.0], 0.5), expected)
    assert merge(base, [first, first], [3.0, 1.0]).equal(first)


@pytest.mark.parametrize("read_of", [iso_c_read, tsv_m_read])
def test_embeddings_get_the_mean_of_the_task_vectors(read_of) -> None:
    base, first, second = some(2)
    x = inputs_of(base, [first, second])._replace(matrix=False)
    kind = IsoC(kind="iso_c") if read_of is iso_c_read else TsvM(kind="tsv_m")
    assert_close(read_of(x, [1.0, 1.0], kind)(0, base.numel()), (first.double() + second.double()).view(-1) / 2)


def iso(x) -> Read:
    return iso_c_read(x, [1.0, 1.0], IsoC(kind="iso_c"))


def tsv(x) -> Read:
    return tsv_m_read(x, [1.0, 1.0], TsvM(kind="tsv_m"))


def calibrated(x) -> Read:
    return posted(Svc(kind="svc"), x, tsv(x), [1.0, 1.0])


@pytest.mark.parametrize("make", [iso, tsv, calibrated])
@pytest.mark.parametrize("shape", [(130, 90), (7, 20, 30)])
def test_slices_and_readers_change_no_bit(make: Callable[..., Read], shape: tuple[int, ...]) -> None:
    base, *tuned = some(2, shape)
    size = base.numel()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        whole = make(inputs_of(base, tuned))(0, size)
        read = make(inputs_of(base, tuned))
        ends = [0, 1, 599, 600, 601, 1900, 3100, size]
        with ThreadPoolExecutor(4) as pool:
            pieces = list(pool.map(lambda span: read(*span), list(pairwise(ends))[::-1]))
    finally:
        torch.set_num_threads(before)
    assert torch.cat(pieces[::-1]).equal(whole)
    assert read(0, size).equal(whole)


def test_matrices_are_computed_once_for_all_readers() -> None:
    base = torch.zeros(4, 10, 10)
    started = threading.Barrier(4, timeout=20)
    calls: list[int] = []

    def compute(index: int) -> torch.Tensor:
        calls.append(index)
        return torch.full((10, 10), float(index))

    read = by_matrix(inputs_of(base, [base]), compute)

    def one(_: int) -> torch.Tensor:
        started.wait()
        return read(50, 350)

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(one, range(4)))
    assert all(result.equal(torch.arange(4.0).repeat_interleave(100)[50:350]) for result in results)
    assert sorted(calls) == [0, 1, 2, 3]


def test_matrices_of_a_large_stack_are_not_all_kept() -> None:
    base = torch.zeros(KEPT + 5, 2, 2)
    calls: list[int] = []

    def compute(index: int) -> torch.Tensor:
        calls.append(index)
        return torch.full((2, 2), float(index))

    read = by_matrix(inputs_of(base, [base]), compute)
    assert read(0, base.numel()).equal(torch.arange(KEPT + 5.0).repeat_interleave(4))
    read(base.numel() - 1, base.numel())
    assert len(calls) == KEPT + 5
    read(0, 1)
    assert len(calls) == KEPT + 6


@pytest.mark.parametrize("shape", [(9, 14), (14, 9), (8, 8)])
def test_spectrum_and_its_parts_agree_with_the_decomposition(shape: tuple[int, int]) -> None:
    matrix = some(0, shape)[0]
    values = np.linalg.svd(matrix.double().numpy(), compute_uv=False)
    np.testing.assert_allclose(spectrum(matrix).values.numpy(), values, rtol=1e-10)
    u, s, v = top(matrix, 3)
    np.testing.assert_allclose(s.numpy(), values[:3], rtol=1e-10)
    assert_close(u.T @ u, np.eye(3), 1e-10)
    assert_close(v.T @ v, np.eye(3), 1e-10)
    a, _, b = np.linalg.svd(matrix.double().numpy(), full_matrices=False)
    assert_close(polar(matrix.double()), a @ b, 1e-8)
    assert spectrum(torch.zeros(shape)).values.numel() == 0


@pytest.mark.parametrize("kind", ["iso_c", "tsv_m"])
def test_folders_merge_to_the_same_bytes_with_any_number_of_threads(
    pico_base: Path, pico_tuned, lora: Path, tmp_path: Path, kind: str
) -> None:
    members = {pico_tuned[0]: 1.0, pico_tuned[1]: 1.0, lora: 1.0}
    settings_ = {"kind": kind, "lambda": 0.8}
    one, _ = merged(tmp_path / "one", pico_base, members, method=settings_, threads=1)
    many, _ = merged(tmp_path / "many", pico_base, members, method=settings_, threads=3)
    assert files(one) == files(many)
    assert not same(one, pico_base)


def test_folder_added_to_its_copy_and_calibrated_is_itself(pico_base: Path, pico_tuned, tmp_path: Path) -> None:
    copy = edited(pico_tuned[0], tmp_path / "copy", dict)
    members = {pico_tuned[0]: 1.0, copy: 1.0}
    arithmetic = {"kind": "task_arithmetic"}
    out, _ = merged(tmp_path / "out", pico_base, members, method=arithmetic, post={"kind": "svc"})
    twice, _ = merged(tmp_path / "twice", pico_base, members, method=arithmetic)
    wanted, doubled = tensors(pico_tuned[0]), tensors(twice)
    for name, tensor in tensors(out).items():
        matrix = tensor.dim() > 1 and "embed" not in name and "lm_head" not in name
        assert_close(tensor, wanted[name] if matrix else doubled[name], 1e-5)


def test_only_weights_that_activations_are_multiplied_with_are_linear_maps() -> None:
    tables = ("transformer.wpe.weight", "decoder.embed_positions.weight", "model.embed_tokens.weight", "lm_head.weight")
    assert not any(map(is_linear_map, tables))
    assert is_linear_map("transformer.h.0.attn.c_attn.weight")
