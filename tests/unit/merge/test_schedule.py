"""Numbers that change over layers and patterns: what holds where."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.merge.config import MergeConfig
from pipelines.merge.kinds import Breadcrumbs, Della, Ties
from pipelines.merge.schedule import depth_of, layer_of, meeting, numbers, value_at

MLP, ATTENTION = "model.layers.2.mlp.up_proj.weight", "model.layers.2.self_attn.q_proj.weight"


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        (MLP, 2),
        ("transformer.h.11.attn.c_attn.weight", 11),
        ("gpt_neox.layers.0.attention.dense.bias", 0),
        ("model.visual.blocks.7.norm1.weight", 7),
        ("bert.encoder.layer.3.output.dense.weight", 3),
        ("h.5.mlp.c_fc.weight", 5),
        ("model.layers.4.mlp.experts.9.down_proj.weight", 4),
        ("model.embed_tokens.weight", None),
        ("lm_head.weight", None),
        ("model.player.3.weight", None),
    ],
)
def test_layer_is_read_from_the_name(name: str, layer: int | None) -> None:
    assert layer_of(name) == layer


@pytest.mark.parametrize(
    ("name", "layers", "depth"),
    [
        ("model.embed_tokens.weight", 5, 0.0),
        ("transformer.wte.weight", 5, 0.0),
        ("transformer.wpe.weight", 5, 0.0),
        ("model.layers.0.mlp.up_proj.weight", 5, 0.0),
        ("model.layers.3.mlp.up_proj.weight", 5, 0.75),
        ("model.layers.4.mlp.up_proj.weight", 5, 1.0),
        ("model.layers.0.mlp.up_proj.weight", 1, 0.0),
        ("model.norm.weight", 5, 1.0),
        ("lm_head.weight", 5, 1.0),
        ("embed_out.weight", 5, 1.0),
    ],
)
def test_depth_runs_from_the_embedding_to_the_head(name: str, layers: int, depth: float) -> None:
    assert depth_of(name, layers) == depth


@pytest.mark.parametrize(
    ("points", "depth", "value"),
    [
        ((0.0, 1.0), 0.25, 0.25),
        ((0.2, 0.6, 0.1), 0.0, 0.2),
        ((0.2, 0.6, 0.1), 0.25, 0.4),
        ((0.2, 0.6, 0.1), 0.5, 0.6),
        ((0.2, 0.6, 0.1), 0.75, 0.35),
        ((0.2, 0.6, 0.1), 1.0, 0.1),
    ],
)
def test_list_is_spread_over_the_layers(points: tuple[float, ...], depth: float, value: float) -> None:
    assert value_at(points, MLP, depth, 9.0) == pytest.approx(value, abs=1e-12)


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=6), st.floats(0, 1))
def test_list_ends_where_it_says_and_stays_between_its_points(points: list[float], depth: float) -> None:
    schedule = tuple(points)
    assert value_at(schedule, MLP, 0.0, 9.0) == points[0]
    assert value_at(schedule, MLP, 1.0, 9.0) == points[-1]
    assert min(points) - 1e-9 <= value_at(schedule, MLP, depth, 9.0) <= max(points) + 1e-9


def test_first_pattern_that_fits_counts_and_else_the_default() -> None:
    schedule = {"*.mlp.*": 0.1, "*.up_proj.*": 0.2, "*.self_attn.*": (0.0, 1.0)}
    assert value_at(schedule, MLP, 0.5, 0.9) == 0.1
    assert value_at(schedule, ATTENTION, 0.25, 0.9) == 0.25
    assert value_at(schedule, "model.norm.weight", 1.0, 0.9) == 0.9
    assert value_at({"*.MLP.*": 0.1}, MLP, 0.5, 0.9) == 0.9


def test_numbers_are_those_of_all_parts() -> None:
    assert numbers(0.5) == [0.5]
    assert numbers((0.5, 0.6)) == [0.5, 0.6]
    assert numbers({"a": 0.5, "b": (0.6, 0.7)}) == [0.5, 0.6, 0.7]


def test_meeting_gives_the_pairs_that_one_tensor_can_have() -> None:
    assert set(meeting((0.5, 9.0), (0.1, 9.0))) == {(0.5, 0.1)}
    assert set(meeting(((0.0, 1.0), 9.0), ((0.0, 2.0, 0.0), 9.0))) == {(0.0, 0.0), (0.5, 2.0), (1.0, 0.0)}
    same = {"*.mlp.*": 0.9, "*": 0.3}, {"*.mlp.*": 0.05, "*": 0.25}
    assert set(meeting((same[0], 9.0), (same[1], 9.0))) == {(0.9, 0.05), (0.3, 0.25)}
    assert set(meeting(({"*.mlp.*": 0.9}, 0.5), (0.1, 9.0))) == {(0.9, 0.1), (0.5, 0.1)}


def test_meeting_leaves_out_where_the_layers_of_a_pattern_are() -> None:
    first, rising = {"*.layers.0.*": 0.95, "*": 0.5}, (0.01, 0.4)
    assert set(meeting((first, 9.0), (rising, 9.0))) == {(0.5, 0.01), (0.5, 0.4)}
    assert (0.95, 0.3) in set(meeting((first, 9.0), (0.3, 9.0)))


def test_method_at_a_tensor_has_numbers_for_schedules() -> None:
    method = Ties.model_validate({"kind": "ties", "density": [0.2, 0.4], "lambda": {"*.mlp.*": 2}, "sign": "count"})
    at = method.at(MLP, 0.5)
    assert (at.density, at.lambda_, at.scope, at.sign) == (pytest.approx(0.3), 2.0, "tensor", "count")
    assert method.at(ATTENTION, 1.0).lambda_ == 1.0
    assert method.density == (0.2, 0.4)


def test_method_without_schedules_is_the_same_at_every_tensor() -> None:
    method = Ties(kind="ties", density=0.3)
    assert method.at(MLP, 0.5) is method


@pytest.mark.parametrize(
    "density", [2, -0.1, [0.1], [], {}, [0.1, 2], {"*": 2}, {"*": [0.1]}, {"*": {"*": 1}}, "half", None, [0.1, "x"]]
)
def test_schedule_that_is_none_is_refused(density: object) -> None:
    with pytest.raises(ValidationError):
        Ties.model_validate({"kind": "ties", "density": density})


@pytest.mark.parametrize(
    ("density", "epsilon"),
    [
        (0.5, 0.5),
        (0.2, 0.2),
        (0.95, 0.1),
        ([0.2, 0.8], [0.1, 0.3]),
        ([0.5, 0.9, 0.5], 0.2),
        (0.5, {"*.mlp.*": 0.6}),
        ({"*.mlp.*": 0.95}, 0.1),
        ({"*": 0.5}, {"*.mlp.*": 0.1, "*": 0.7}),
    ],
)
def test_della_of_no_probabilities_is_refused(density: object, epsilon: object) -> None:
    with pytest.raises(ValidationError, match=r"density [+-] epsilon"):
        Della.model_validate({"kind": "della", "density": density, "epsilon": epsilon})


@pytest.mark.parametrize(
    ("density", "epsilon"),
    [
        (1.0, 0.0),
        (0.9, 0.1),
        (0.3, 0.2),
        ([0.2, 0.9], [0.15, 0.05]),
        ({"*.mlp.*": 0.95, "*": 0.3}, {"*.mlp.*": 0.05, "*": 0.2}),
        ({"*.layers.0.*": 0.95, "*": 0.5}, [0.01, 0.4]),
    ],
)
def test_della_of_probabilities_is_accepted(density: object, epsilon: object) -> None:
    method = Della.model_validate({"kind": "della", "density": density, "epsilon": epsilon})
    told = method.model_dump(mode="json")
    assert (told["density"], told["epsilon"]) == (density, epsilon)


@pytest.mark.parametrize(("density", "gamma"), [(1.0, 0.01), (0.5, 0.6), ([0.5, 0.95], [0.01, 0.1])])
def test_breadcrumbs_of_more_than_everything_is_refused(density: object, gamma: object) -> None:
    with pytest.raises(ValidationError, match="add up to at most 1"):
        Breadcrumbs.model_validate({"kind": "breadcrumbs", "density": density, "gamma": gamma})


@given(st.integers(1, 1000))
def test_breadcrumbs_of_exactly_everything_is_accepted(parts: int) -> None:
    method = Breadcrumbs.model_validate({"kind": "breadcrumbs", "density": parts / 1000, "gamma": 1 - parts / 1000})
    assert method.density == parts / 1000


@pytest.mark.parametrize(
    ("kind", "weights", "message"),
    [
        ("linear", [[0, 1]], "sum to 0 at some tensors"),
        ("linear", [{"*.mlp.*": 0}, {"*.mlp.*": 0}], "sum to 0 at some tensors"),
        ("linear", [{"*": 0}, 0], "sum to 0, so"),
        ("karcher", [{"*.mlp.*": 0}, {"*.mlp.*": 0}], "sum to 0 at some tensors"),
        ("ties", [{"*": 0}, {"*": 0}], "all weights are 0"),
        ("ties", [[1, -1], 1], "negative weights"),
        ("sce", [[1, 2], 1], "takes no weights"),
    ],
)
def test_weights_without_a_meaning_are_refused(kind: str, weights: list[object], message: str) -> None:
    models = [{"use": name, "weight": weight} for name, weight in zip("ab", weights, strict=False)]
    with pytest.raises(ValidationError, match=message):
        MergeConfig.model_validate({"models": models, "method": {"kind": kind}})


@pytest.mark.parametrize(
    ("kind", "weights"),
    [
        ("linear", [[0, 1], [1, 0]]),
        ("linear", [{"*.mlp.*": 0}, 1]),
        ("ties", [{"*.mlp.*": 0}, {"*.mlp.*": 0}]),
        ("task_arithmetic", [1, -1]),
    ],
)
def test_weights_with_a_meaning_are_accepted(kind: str, weights: list[object]) -> None:
    models = [{"use": name, "weight": weight} for name, weight in zip("ab", weights, strict=True)]
    merge = MergeConfig.model_validate({"models": models, "method": {"kind": kind}})
    assert [member["weight"] for member in merge.model_dump(mode="json")["models"]] == weights
