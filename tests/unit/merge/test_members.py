"""The models of a merge in their order, and schedules that do nothing."""

from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.merge.config import MergeConfig
from pipelines.merge.members import members
from tests.unit.merge.models import artifact, merged, tensors


def config(kind: str) -> MergeConfig:
    models = [{"use": "late"}, {"use": "early"}]
    return MergeConfig.model_validate({"models": models, "method": {"kind": kind}})


def test_members_are_in_the_order_of_their_keys_but_where_the_first_is_told_from_the_second(tmp_path: Path) -> None:
    inputs = {"late": artifact(tmp_path / "z"), "early": artifact(tmp_path / "a")}
    assert [one.place for one in members(config("linear"), inputs)] == [1, 0]
    assert [one.place for one in members(config("slerp"), inputs)] == [0, 1]


def test_patterns_that_fit_no_tensor_are_refused(tmp_path: Path, pico_base: Path, pico_tuned: tuple[Path, ...]) -> None:
    method = {"kind": "task_arithmetic", "lambda": {"*.mpl.*": 0.5, "*.mlp.*": 0.7, "*": 1.0}}
    with pytest.raises(UserError) as caught:
        merged(tmp_path / "out", pico_base, [(pico_tuned[0], {"*layer.1*": 2.0})], method=method)
    assert [(problem.where, problem.got) for problem in caught.value.problems] == [
        ("method.lambda", "*.mpl.*"),
        ("models.0.weight", "*layer.1*"),
    ]


def test_patterns_that_come_too_late_to_count_are_refused(
    tmp_path: Path, pico_base: Path, pico_tuned: tuple[Path, ...]
) -> None:
    method = {"kind": "task_arithmetic", "lambda": {"*": 1.0, "*.mlp.*": 0.5}}
    with pytest.raises(UserError, match=r"method.lambda: patterns before it take .* \(got \*\.mlp\.\*\). Put it first"):
        merged(tmp_path / "out", pico_base, [(pico_tuned[0], 1.0)], method=method)


@pytest.mark.parametrize("density", [1.0, 0.5])
def test_ties_of_one_model_is_the_base_where_its_weight_is_zero(
    tmp_path: Path, pico_base: Path, pico_tuned: tuple[Path, ...], density: float
) -> None:
    method = {"kind": "ties", "density": density}
    out, _ = merged(tmp_path / "out", pico_base, [(pico_tuned[0], {"*.layers.*": 0.0, "*": 1.0})], method=method)
    result, base = tensors(out), tensors(pico_base)
    moved = {name for name in base if not result[name].equal(base[name])}
    assert moved and not any(".layers." in name for name in moved)
