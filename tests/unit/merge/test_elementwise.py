"""The elementwise methods against plain numpy, against the TIES paper's own steps, and against probability."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import UserError
from pipelines.merge.della import della_read, magprune
from pipelines.merge.kinds import Della, Ties
from pipelines.merge.reads import whole
from pipelines.merge.ties import model_bounds, ties_read
from tests.unit.merge import oracles
from tests.unit.merge.elementwise import CASES, DTYPES, dtypes, dyadic, grid, inputs, merge, method_of, seeds, shapes

PROPERTY = settings(deadline=None, max_examples=25)


def expected(
    settings: dict[str, Any], base: torch.Tensor, tuned: Sequence[torch.Tensor], weights: Sequence[float]
) -> torch.Tensor:
    """What the oracle of a method makes of fp64 copies."""
    method = method_of(settings)
    parameters = {name: getattr(method, name) for name in type(method).model_fields if name not in ("kind", "seed")}
    models = [model.double().numpy() for model in tuned]
    return torch.from_numpy(
        np.asarray(getattr(oracles, method.kind)(base.double().numpy(), models, weights, **parameters))
    )


@pytest.mark.parametrize("case", CASES)
@given(shape=shapes, dtype=dtypes, seed=seeds, weights=st.lists(dyadic, min_size=2, max_size=2), lambda_=dyadic)
@PROPERTY
def test_method_agrees_with_its_definition(
    case: str, shape: tuple[int, ...], dtype: torch.dtype, seed: int, weights: list[float], lambda_: float
) -> None:
    base, *tuned = (tensor.to(dtype) for tensor in grid(shape, seed, 3))
    settings = dict(CASES[case])
    if settings["kind"] not in ("linear", "interpolate"):
        settings["lambda"] = lambda_
    merged = merge(settings, base, tuned, weights)
    assert merged.shape == base.shape
    torch.testing.assert_close(merged.double(), expected(settings, base, tuned, weights), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("case", [case for case in CASES if case != "interpolate"])
@pytest.mark.parametrize("count", [1, 12])
def test_one_model_and_twelve_agree_with_the_definition(case: str, count: int) -> None:
    base, *tuned = grid((7, 11), 21, count + 1)
    weights = [1.0, 0.5, 0.25, 2.0] * 3
    merged = merge(CASES[case], base, tuned, weights[:count])
    wanted = expected(dict(CASES[case]), base, tuned, weights[:count])
    torch.testing.assert_close(merged.double(), wanted, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["breadcrumbs", "sce"])
@pytest.mark.parametrize("data", ["normal", "quantised", "mostly zero"])
def test_large_tensor_agrees_with_the_definition(kind: str, data: str) -> None:
    generator = torch.Generator().manual_seed(3)
    base = torch.zeros(601, 503)
    tuned = [torch.randn(base.shape, generator=generator) for _ in range(2)]
    if data == "quantised":
        tuned = [(model * 8).round() / 8 for model in tuned]
    if data == "mostly zero":
        tuned = [model * (torch.rand(base.shape, generator=generator) < 0.02) for model in tuned]
    settings = {"breadcrumbs": {"density": 0.3, "gamma": 0.05}, "sce": {"density": 0.1}}[kind] | {"kind": kind}
    merged = merge(settings, base, tuned)
    deltas = [model.double().numpy() for model in tuned]
    if kind == "breadcrumbs":
        left = sum(oracles.kept(delta, 0.3, 0.05) for delta in deltas)
    else:
        spread = np.abs(deltas[0] - deltas[1])
        least = np.sort(spread, axis=None)[-int(0.1 * spread.size)]
        chosen = [delta * (spread >= least) for delta in deltas]
        weights = [float(np.mean(delta**2)) for delta in chosen]
        sign = np.where(sum(chosen) >= 0, 1, -1)
        agree = [delta * sign > 0 for delta in chosen]
        mass = sum(w * a for w, a in zip(weights, agree, strict=True))
        total = sum(w * a * d for w, a, d in zip(weights, agree, chosen, strict=True))
        left = np.divide(total, mass, out=np.zeros_like(total), where=mass > 0)
    torch.testing.assert_close(merged.double(), torch.from_numpy(left), atol=1e-6, rtol=1e-5)


def test_breadcrumbs_drops_the_largest_and_keeps_what_follows() -> None:
    base = torch.zeros(2, 5)
    tuned = torch.arange(1.0, 11.0).view(2, 5) * torch.tensor([1, -1, 1, -1, 1])
    result = merge({"kind": "breadcrumbs", "density": 0.5, "gamma": 0.2}, base, [tuned])
    assert result.flatten().tolist() == [0, 0, 0, -4, 5, 6, -7, 8, 0, 0]


def test_breadcrumbs_what_equals_a_bound_stays() -> None:
    base, tuned = torch.zeros(1, 10), torch.tensor([[5.0, -5.0, 5.0, 3.0, 3.0, -3.0, 3.0, 1.0, 0.0, 2.0]])
    # The largest is to go, but equals the second largest; the sixth largest equals the fourth, fifth and seventh.
    result = merge({"kind": "breadcrumbs", "density": 0.5, "gamma": 0.1}, base, [tuned])
    assert result.flatten().tolist() == [5, -5, 5, 3, 3, -3, 3, 0, 0, 0]


def test_sce_merges_only_what_differs_most() -> None:
    base = torch.zeros(1, 4)
    one, two = torch.tensor([[1.0, 1.0, 2.0, 0.1]]), torch.tensor([[1.0, -3.0, 2.0, 0.2]])
    merged = merge({"kind": "sce", "density": 0.25}, base, [one, two])
    assert merged.tolist() == [[0.0, -3.0, 0.0, 0.0]]


def test_sce_weighs_models_by_their_energy() -> None:
    base = torch.zeros(1, 2)
    one, two = torch.tensor([[1.0, 3.0]]), torch.tensor([[2.0, 4.0]])
    merged = merge({"kind": "sce", "density": 1.0}, base, [one, two])
    assert merged[0].tolist() == pytest.approx([(10 * 1 + 20 * 2) / 30, (10 * 3 + 20 * 4) / 30])


def test_sce_of_models_that_did_not_change_is_the_base() -> None:
    base = grid((4, 5), 1)[0]
    assert merge(CASES["sce"], base, [base.clone(), base.clone()]).equal(base)


@pytest.mark.parametrize("case", [case for case in CASES if case != "interpolate"])
def test_nan_of_a_model_is_in_the_result(case: str) -> None:
    base, one, two = grid((6, 8), 2, 3)
    one[1, 2] = torch.nan
    merged = merge(CASES[case], base, [one, two])
    assert bool(merged[1, 2].isnan())
    assert int(merged.isnan().sum()) == 1


# TIES: what the paper and its code promise.


@given(seed=seeds, density=st.floats(0, 1), scope=st.sampled_from(["tensor", "row"]))
@PROPERTY
def test_ties_keeps_at_least_k_and_more_only_of_equals(seed: int, density: float, scope: str) -> None:
    base, tuned = torch.zeros(6, 9), grid((6, 9), seed)[0]
    result = merge({"kind": "ties", "density": density, "scope": scope}, base, [tuned])
    for values, left in zip(tuned, result, strict=True) if scope == "row" else [(tuned, result)]:
        k = max(1, int(density * values.numel())) if density else 0
        gone, stayed = values[left == 0].abs(), values[left != 0].abs()
        assert left[left != 0].equal(values[left != 0])
        assert len(stayed) + int((values == 0).sum()) >= k
        assert not len(stayed) or not len(gone) or bool(gone.max() < stayed.min())
        assert int((stayed > stayed.min()).sum()) < max(k, 1) if len(stayed) else True


@pytest.mark.parametrize("sign", ["mass", "count"])
@given(seed=seeds, weights=st.lists(dyadic, min_size=3, max_size=3))
@PROPERTY
def test_ties_has_the_elected_sign_and_no_more_than_the_largest(sign: str, seed: int, weights: list[float]) -> None:
    base, *tuned = torch.zeros(6, 9), *grid((6, 9), seed, 3)
    result = merge({"kind": "ties", "density": 0.4, "sign": sign}, base, tuned, weights)
    trimmed = torch.from_numpy(np.stack([oracles.kept(model.double().numpy(), 0.4) for model in tuned]))
    votes = (trimmed.sign() if sign == "count" else trimmed) * torch.tensor(weights)[:, None, None]
    elected = torch.where(votes.sum(0) >= 0, 1.0, -1.0)
    assert bool(((result.sign() == 0) | (result.sign() == elected)).all())
    assert bool((result.abs() <= trimmed.abs().amax(0) * (1 + 1e-6)).all())


def ties_of_the_paper(base: np.ndarray, tuned: list[np.ndarray], k: int) -> np.ndarray:
    """Algorithm 1 of arXiv 2306.01708 on flattened models, lambda 1, sign by the sum; a sum of 0 takes the sign that
    the sums of all elements have together, as in the authors' code."""
    deltas = np.stack([model - base for model in tuned])
    for delta in deltas:
        delta[np.abs(delta) < np.sort(np.abs(delta))[-k]] = 0
    sign = np.sign(deltas.sum(axis=0))
    sign[sign == 0] = np.sign(sign.sum())
    agreeing = np.where(deltas * sign > 0, deltas, 0)
    count = np.count_nonzero(agreeing, axis=0)
    return base + np.divide(agreeing.sum(axis=0), count, out=np.zeros_like(base), where=count > 0)


def model_by_ties(base: list[torch.Tensor], tuned: list[list[torch.Tensor]], density: float) -> np.ndarray:
    """A model of several matrices merged with scope: global, flattened."""
    method = Ties(kind="ties", density=density, scope="global")
    parts = [inputs(part, [model[at] for model in tuned]) for at, part in enumerate(base)]
    bounds = tuple(model_bounds(parts, density, index) for index in range(len(tuned)))
    merged = [whole(ties_read(x._replace(bounds=bounds), [1.0] * len(tuned), method), x.shape) for x in parts]
    return flat(merged)


def flat(parts: list[torch.Tensor]) -> np.ndarray:
    return torch.cat([part.reshape(-1) for part in parts]).double().numpy()


@pytest.mark.parametrize("density", [0.05, 0.2, 0.7])
def test_ties_global_agrees_with_the_paper(density: float) -> None:
    generator = torch.Generator().manual_seed(5)
    scales = {(9, 7): 0.01, (13, 5): 1.0, (4, 31): 0.1}
    base = [torch.randn(shape, generator=generator) for shape in scales]
    tuned = [
        [
            part + scale * torch.randn(part.shape, generator=generator)
            for part, scale in zip(base, scales.values(), strict=True)
        ]
        for _ in range(3)
    ]
    flats = [flat(model) for model in tuned]
    wanted = ties_of_the_paper(flat(base), flats, int(density * flat(base).size))
    np.testing.assert_allclose(model_by_ties(base, tuned, density), wanted, atol=1e-6, rtol=1e-5)


def test_ties_elects_plus_where_the_sum_is_zero_and_the_paper_the_majority() -> None:
    base = [torch.zeros(1, 3)]
    tuned = [[torch.tensor([[2.0, -1.0, -3.0]])], [torch.tensor([[-2.0, -1.0, -1.0]])]]
    paper = ties_of_the_paper(flat(base), [flat(model) for model in tuned], 3)
    assert paper.tolist() == [-2.0, -1.0, -2.0]
    assert model_by_ties(base, tuned, 1.0).tolist() == [2.0, -1.0, -2.0]


def test_ties_global_keeps_more_of_tensors_that_changed_more() -> None:
    still, moved = 0.001 * grid((8, 8), 1)[0], grid((8, 8), 2)[0]
    base = [torch.zeros(8, 8), torch.zeros(8, 8)]
    merged = model_by_ties(base, [[still, moved]], 0.4)
    assert not merged[:64].any()
    assert np.count_nonzero(merged[64:]) >= int(0.4 * 128)


# DARE and DELLA: what holds on average and for each mask.

RANDOM = {
    "dare": {"kind": "dare", "density": 0.3},
    "dare_ties": {"kind": "dare_ties", "density": 0.3},
    "della": {"kind": "della", "density": 0.3, "epsilon": 0.2},
    "della-sum": {"kind": "della", "density": 0.3, "epsilon": 0.2, "elect": False},
}


def chance_of(settings: dict[str, Any], delta: torch.Tensor) -> torch.Tensor:
    if settings["kind"] != "della":
        return torch.full(delta.shape, settings["density"]).double()
    return torch.from_numpy(oracles.della_chances(delta.numpy(), settings["density"], settings["epsilon"]))


@pytest.mark.parametrize("case", RANDOM)
@pytest.mark.parametrize("shape", [(1, 3), (4, 3), (3, 1), (2, 17)])
def test_mean_over_seeds_is_the_task_vector(case: str, shape: tuple[int, ...]) -> None:
    base, tuned = grid(shape, 31, 2)
    draws = 1000
    total = torch.zeros(shape, dtype=torch.double)
    for seed in range(draws):
        total += (merge({**RANDOM[case], "seed": seed}, base, [tuned]) - base).double()
    delta = tuned - base
    chance = chance_of(RANDOM[case], delta)
    error = delta.double().abs() * ((1 - chance) / chance / draws) ** 0.5
    assert bool(((total / draws - delta).abs() <= 4 * error + 1e-6).all())


@pytest.mark.parametrize("case", RANDOM)
def test_share_of_kept_elements_is_binomial(case: str) -> None:
    base, rows, columns = torch.zeros(4000, 25), 4000, 25
    tuned = torch.arange(1.0, columns + 1).repeat(rows, 1)
    kept = (merge(RANDOM[case], base, [tuned]) != 0).double().mean(0)
    chance = chance_of(RANDOM[case], tuned[:1])[0]
    # Five sigma of each of 25 columns: the seed is fixed, so this cannot fail by bad luck.
    assert bool(((kept - chance).abs() <= 5 * (chance * (1 - chance) / rows) ** 0.5).all())


@pytest.mark.parametrize("case", RANDOM)
def test_kept_elements_are_divided_by_their_probability(case: str) -> None:
    base, tuned = grid((9, 8), 33, 2)
    base = torch.zeros_like(base)
    merged = merge(RANDOM[case], base, [tuned]).double()
    rounded = (chance_of(RANDOM[case], tuned) * 65536).round() / 65536
    stayed = merged != 0
    torch.testing.assert_close(merged[stayed], (tuned / rounded)[stayed], atol=0, rtol=1e-6)


@pytest.mark.parametrize("case", RANDOM)
def test_masks_depend_on_seed_tensor_and_model_alone(case: str) -> None:
    base, one, two = torch.zeros(40, 25), *(tensor.abs() + 1 for tensor in grid((40, 25), 34, 2))
    settings = RANDOM[case]
    alone = merge(settings, base, [one], models="a") != 0
    beside = merge(settings, base, [two, one], [0.0, 1.0], models="ba") != 0
    assert beside.equal(alone)
    for other in (
        merge({**settings, "seed": 1}, base, [one], models="a"),
        merge(settings, base, [one], models="b"),
        merge(settings, base, [one], models="a", name="v"),
    ):
        # Masks of their own share no more than chance would have it.
        agree = float(((other != 0) == alone).double().mean())
        assert agree < 0.75
    part = merge(settings, base[:7], [one[:7]], models="a") != 0
    assert part.equal(alone[:7])


@pytest.mark.parametrize("case", RANDOM)
@pytest.mark.parametrize("dtype", DTYPES)
def test_norms_and_biases_are_not_dropped(case: str, dtype: torch.dtype) -> None:
    base, tuned = (tensor.to(dtype) for tensor in grid((50,), 35, 2))
    assert merge(RANDOM[case], base, [tuned]).equal(tuned.float())


def test_della_without_range_is_dare() -> None:
    base, *tuned = grid((30, 20), 36, 4)
    weights = [1.0, 0.5, -0.25]
    della = merge({"kind": "della", "density": 0.4, "epsilon": 0.0, "elect": False}, base, tuned, weights)
    assert della.equal(merge({"kind": "dare", "density": 0.4}, base, tuned, weights))


def test_della_keeps_what_surely_stays() -> None:
    base, tuned = torch.zeros(500, 11), torch.arange(1.0, 12.0).repeat(500, 1)
    merged = merge({"kind": "della", "density": 0.75, "epsilon": 0.25}, base, [tuned])
    assert merged[:, -1].equal(tuned[:, -1])
    assert not merged[:, 0].all()


def test_della_ranks_equal_magnitudes_by_their_index() -> None:
    tuned = torch.tensor([[-1.0, 1.0, 0.0, 1.0]]).repeat(20000, 1)
    x = inputs(torch.zeros(20000, 4), [tuned])
    pruned = magprune(x, 0.5, 0.3, 0)
    assert pruned is not None
    kept = (pruned(0, x.elements).view(-1, 4) != 0).double().mean(0)
    assert kept.tolist() == pytest.approx([0.4, 0.6, 0.0, 0.8], abs=0.02)


def test_della_patterns_that_meet_badly_at_a_tensor_are_refused() -> None:
    method = Della.model_validate({"kind": "della", "density": {"*.mlp.*": 0.85}, "epsilon": {"*.layers.0.*": 0.3}})
    x = inputs(torch.zeros(2, 3), [torch.ones(2, 3)], name="model.layers.0.mlp.up_proj.weight")
    with pytest.raises(UserError, match=r"up_proj\.weight: the patterns that meet here"):
        della_read(x, [1.0], method.at(x.name, 0.0))
