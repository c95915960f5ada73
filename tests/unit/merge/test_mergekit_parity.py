"""Our methods against mergekit's, tensor by tensor in float32.

Where the two differ on purpose the test says how, and takes the difference out: by data without equal magnitudes, by
giving mergekit our random numbers, by weights that undo its scale. Tolerances stay those of float32 sums. The methods
of angles and lengths are compared in test_geometry.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from mergekit.merge_methods.api import merge_tensors
from pydantic import ValidationError

from pipelines.merge.breadcrumbs import breadcrumbs
from pipelines.merge.config import MergeConfig
from pipelines.merge.dare import dare, mask_key, uniform16
from pipelines.merge.dare_ties import dare_ties
from pipelines.merge.della import della
from pipelines.merge.interpolate import interpolate
from pipelines.merge.linear import linear
from pipelines.merge.sce import sce
from pipelines.merge.task_arithmetic import task_arithmetic
from pipelines.merge.ties import ties
from tests.unit.merge.models import edited, merged, tensors

ROWS, COLUMNS = 24, 17
WEIGHTS = [0.6, 0.3, 0.45]
Tensors = list[torch.Tensor]

assert_same = partial(torch.testing.assert_close, atol=1e-6, rtol=1e-5)


@pytest.fixture
def models() -> Tensors:
    """A base and three tuned, no two magnitudes of a task vector equal: what equals a threshold is one element."""
    generator = torch.Generator().manual_seed(3)
    base = torch.randn(ROWS, COLUMNS, generator=generator)
    deltas = [0.1 * torch.randn(ROWS, COLUMNS, generator=generator) for _ in WEIGHTS]
    tuned = [base + delta for delta in deltas]
    assert all((model - base).abs().unique().numel() == base.numel() for model in tuned)
    return [base, *tuned]


def theirs(method: str, models: Tensors, **parameters: object) -> torch.Tensor:
    return merge_tensors(models, method, parameters=parameters, base_index=0)


def test_linear_is_the_same(models: Tensors) -> None:
    assert_same(linear(models, [1.0, *WEIGHTS]), theirs("linear", models, weight=[1.0, *WEIGHTS]))


def test_linear_of_weights_that_sum_to_0_is_an_error_here_and_nan_there(models: Tensors) -> None:
    with pytest.raises(ValueError, match="sum to 0"):
        linear(models[1:3], [1.0, -1.0])
    assert not theirs("linear", models[1:3], weight=[1.0, -1.0]).isfinite().any()


def test_interpolate_is_their_linear_of_base_and_model(models: Tensors) -> None:
    assert_same(interpolate(*models[:2], alpha=0.3), theirs("linear", models[:2], weight=[0.7, 0.3]))


@pytest.mark.parametrize("lambda_", [1.0, 0.4])
def test_task_arithmetic_is_the_same(models: Tensors, lambda_: float) -> None:
    base, *tuned = models
    weights = [0.6, -0.3, 0.45]
    assert_same(
        task_arithmetic(base, tuned, weights, lambda_),
        theirs("task_arithmetic", models, weight=weights, **{"lambda": lambda_}),
    )


def test_task_arithmetic_normalized_is_ours_with_divided_weights(models: Tensors) -> None:
    # Ours has no normalize.
    base, *tuned = models
    divided = [weight / sum(WEIGHTS) for weight in WEIGHTS]
    assert_same(
        task_arithmetic(base, tuned, divided), theirs("task_arithmetic", models, weight=WEIGHTS, normalize=True)
    )


def test_task_arithmetic_of_bfloat16_is_exact_here_and_rounded_there(models: Tensors) -> None:
    base, tuned = (model.bfloat16() for model in models[:2])
    assert task_arithmetic(base, [tuned], [1.0]).bfloat16().equal(tuned)
    assert not theirs("task_arithmetic", [base, tuned], weight=[1.0]).equal(tuned)


@pytest.mark.parametrize("density", [0.05, 0.3, 0.77, 1.0])
def test_ties_is_the_same_without_equal_magnitudes(models: Tensors, density: float) -> None:
    # Both elect the sign of the weighted sum and keep max(1, int(density n)).
    base, *tuned = models
    assert_same(
        ties(base, tuned, WEIGHTS, density, 0.7),
        theirs("ties", models, weight=WEIGHTS, density=density, **{"lambda": 0.7}),
    )


def test_ties_keeps_all_that_equal_the_threshold_and_they_any_of_them() -> None:
    base = torch.zeros(2, 4)
    tuned = torch.full((2, 4), 0.5)
    assert int((ties(base, [tuned], [1.0], 0.5) != 0).sum()) == 8
    assert int((theirs("ties", [base, tuned], weight=[1.0], density=0.5) != 0).sum()) == 4


def test_ties_trims_no_vectors_and_they_do(models: Tensors) -> None:
    vectors = [model[0] for model in models]
    base, *tuned = vectors
    ours = ties(base, tuned, WEIGHTS, 0.3)
    assert_same(ours, theirs("ties", vectors, weight=WEIGHTS, density=1.0))
    assert not torch.allclose(ours, theirs("ties", vectors, weight=WEIGHTS, density=0.3))


def test_ties_refuses_the_negative_weight_whose_sign_they_divide_away(models: Tensors) -> None:
    base, tuned = models[:2]
    assert_same(theirs("ties", [base, tuned], weight=[-1.0]), tuned)
    assert_same(task_arithmetic(base, [tuned], [-1.0]), 2 * base - tuned)
    with pytest.raises(ValidationError, match="negative weights have no meaning in ties"):
        MergeConfig.model_validate({"models": [{"use": "x", "weight": -1.0}], "method": {"kind": "ties"}})


@pytest.fixture
def our_masks(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Give mergekit the masks of a seed of ours, and in them the rescale by 1 / probability.

    Theirs come from torch's global generator, and it scales until the L1 norm is as before the drop; that is off with
    rescale: false.
    """

    def start(seed: int) -> None:
        drawn = iter(range(9))

        def bernoulli(probabilities: torch.Tensor) -> torch.Tensor:
            key = mask_key(seed, "", str(next(drawn)))
            words = torch.from_numpy(uniform16(key, 0, probabilities.numel()).astype("int32"))
            kept = words.view_as(probabilities) < (probabilities * 2**16).round()
            return kept / probabilities

        monkeypatch.setattr(torch, "bernoulli", bernoulli)

    return start


@pytest.mark.parametrize("density", [0.25, 0.5, 1.0])
def test_dare_is_the_same_by_our_masks_and_scale(
    models: Tensors, our_masks: Callable[[int], None], density: float
) -> None:
    base, *tuned = models
    our_masks(5)
    settings = {"weight": WEIGHTS, "density": density, "rescale": False, "lambda": 0.7}
    assert_same(dare(base, tuned, WEIGHTS, density, 0.7, seed=5), theirs("dare_linear", models, **settings))


@pytest.mark.parametrize("density", [0.25, 0.5, 1.0])
def test_dare_ties_is_the_same_by_our_masks_and_scale(
    models: Tensors, our_masks: Callable[[int], None], density: float
) -> None:
    base, *tuned = models
    our_masks(5)
    settings = {"weight": WEIGHTS, "density": density, "rescale": False, "lambda": 0.7}
    assert_same(dare_ties(base, tuned, WEIGHTS, density, 0.7, seed=5), theirs("dare_ties", models, **settings))


def test_dare_keeps_the_mean_and_they_the_l1_norm() -> None:
    # A column, so that ours is no vector, which it would leave whole.
    delta = torch.tensor([[1.0], [2.0], [6.0]])
    base = torch.zeros_like(delta)
    ours = torch.stack([dare(base, [delta], [1.0], 0.5, seed=seed) for seed in range(2000)])
    torch.manual_seed(0)
    rescaled = torch.stack([theirs("dare_linear", [base, delta], weight=[1.0], density=0.5) for _ in range(2000)])
    assert ((ours.mean(0) / delta - 1).abs() < 0.1).all()
    assert ((rescaled.mean(0) / delta - 1).abs() > 0.1).any()
    norms = rescaled.abs().sum((1, 2))
    assert_same(norms[norms > 0], torch.full_like(norms[norms > 0], 9.0))


@pytest.mark.parametrize("elect", [True, False])
def test_della_is_the_same_by_our_masks_and_scale(
    models: Tensors, our_masks: Callable[[int], None], elect: bool
) -> None:
    # Ranks are taken in rows of 17, so that every probability is a multiple of 1/32, which ours rounds to 2**-16. They
    # scale the whole tensor; by our masks each element is scaled by its own probability.
    base, *tuned = models
    our_masks(5)
    method = "della" if elect else "della_linear"
    settings = {"weight": WEIGHTS, "density": 0.5, "epsilon": 0.25, "rescale": False, "lambda": 0.7}
    assert_same(della(base, tuned, WEIGHTS, 0.5, 0.25, elect, 0.7, seed=5), theirs(method, models, **settings))


@pytest.mark.parametrize("elect", [True, False])
@pytest.mark.parametrize(("density", "gamma"), [(0.3, 0.01), (0.6, 0.2), (0.9, 0.1), (0.05, 0.5)])
def test_breadcrumbs_is_the_same_without_equal_magnitudes(
    models: Tensors, elect: bool, density: float, gamma: float
) -> None:
    base, *tuned = models
    method = "breadcrumbs_ties" if elect else "breadcrumbs"
    settings = {"weight": WEIGHTS, "density": density, "gamma": gamma, "lambda": 0.7}
    assert_same(breadcrumbs(base, tuned, WEIGHTS, density, gamma, elect, 0.7), theirs(method, models, **settings))


@pytest.mark.parametrize("density", [0.1, 0.5, 1.0])
def test_sce_is_the_same_where_all_elements_vary(models: Tensors, density: float) -> None:
    # They take the share of the elements whose variance is not 0; here that is all of them.
    base, *tuned = models
    assert_same(sce(base, tuned, density), theirs("sce", models, select_topk=density))


SCHEDULES = [
    {"kind": "linear"},
    {"kind": "interpolate", "alpha": [0.2, 0.9]},
    {"kind": "task_arithmetic", "lambda": {"*.mlp.*": [0.3, 1.0], "*norm*": 0.1}},
    {"kind": "ties", "density": {"*.mlp.*": [0.3, 0.7], "*": 0.5}, "lambda": [1.0, 0.5]},
    {"kind": "dare", "density": 1.0, "lambda": 0.5},
    {"kind": "dare_ties", "density": 1.0},
    {"kind": "della", "density": 1.0, "epsilon": 0.0},
    {"kind": "della", "density": 1.0, "epsilon": 0.0, "elect": False},
    {"kind": "breadcrumbs", "density": [0.5, 0.9], "gamma": 0.1},
    {"kind": "breadcrumbs", "density": 0.6, "gamma": {"*.mlp.*": 0.2}, "elect": True},
    {"kind": "model_stock"},
    {"kind": "slerp", "t": {"*norm*": 0.0, "*": [0.2, 0.6]}},
    {"kind": "nuslerp"},
    {"kind": "nuslerp", "scope": "row"},
    {"kind": "karcher"},
    {"kind": "sce", "density": {"*.mlp.*": [0.4, 1.0], "*": 0.7}},
]


@pytest.mark.parametrize("method", SCHEDULES, ids=lambda method: method["kind"])
def test_both_engines_make_the_same_model(pico_base: Path, pico_tuned, tmp_path: Path, method: dict) -> None:
    """Schedules, vectors that are left whole, and every name that a parameter has in mergekit.

    The second model is the first with the sign of every third column of its task vectors changed: of equal length, row
    by row, where nuslerp is the same, and of positive cosine, where model_stock is. For sce it is another one, as
    there mergekit leaves out what does not vary. slerp leaves the norms where they are: mergekit takes the straight
    line between vectors as close as theirs.
    """
    one = pico_tuned[0]
    start = tensors(pico_base)

    def turned(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        deltas = {name: weight - start[name] for name, weight in weights.items()}
        for delta in deltas.values():
            delta[..., ::3] *= -1
        return {name: start[name] + delta for name, delta in deltas.items()}

    two = edited(one, tmp_path / "two", turned) if method["kind"] != "sce" else pico_tuned[1]
    weighted = method["kind"] not in ("interpolate", "model_stock", "slerp", "karcher", "sce")
    first = {"*.mlp.*": 0.3, "*": [0.2, 0.8]} if weighted else 1.0
    alone = method["kind"] in ("interpolate", "slerp")
    members = [(one, first)] if alone else [(one, first), (two, 0.5 if weighted else 1.0)]
    ours, _ = merged(tmp_path / "ours", pico_base, members, method=method)
    mergekits, _ = merged(tmp_path / "theirs", pico_base, members, method=method, engine="mergekit")
    for name, value in tensors(ours).items():
        assert_same(value, tensors(mergekits)[name], msg=name)


def test_slerp_of_two_models_starts_at_the_first_in_both_engines(pico_base: Path, pico_tuned, tmp_path: Path) -> None:
    members, method = [(pico_tuned[1], 1.0), (pico_tuned[0], 1.0)], {"kind": "slerp", "t": {"*norm*": 1.0, "*": 0.3}}
    ours, _ = merged(tmp_path / "ours", pico_base, members, method=method)
    mergekits, _ = merged(tmp_path / "theirs", pico_base, members, method=method, engine="mergekit")
    for name, value in tensors(ours).items():
        assert_same(value, tensors(mergekits)[name], msg=name)
