"""A merge of checkpoints is told before anything runs where no checkpoints are kept."""

from pathlib import Path

import pytest

from pipelines.recipe.compile import compile_graph
from pipelines.recipe.load import load
from tests.unit.recipe.project import RECIPE, make, problems

AVERAGE = RECIPE.replace("method: {kind: interpolate, alpha: 0.7}", "method: {kind: checkpoint_average}")
KEEPING = AVERAGE.replace("rank: 8}, ", "rank: 8}, checkpoints: {every: 5, last: 3}, ")
WHERE = "recipe.yaml:13: merge.kept.models.0.use: "


def test_average_of_a_run_that_keeps_checkpoints_is_planned(tmp_path: Path) -> None:
    nodes = compile_graph(load(make(tmp_path, KEEPING))).nodes
    assert nodes["merge.kept"].config.method.kind == "checkpoint_average"


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        (
            AVERAGE,
            "'tuned' keeps no checkpoints to average. Add to train.tuned: checkpoints: {every: N, last: 2}",
        ),
        (
            AVERAGE.replace("checkpoint_average}", "checkpoint_average, last: 4}"),
            "'tuned' keeps no checkpoints to average. Add to train.tuned: checkpoints: {every: N, last: 4}",
        ),
        (
            KEEPING.replace("checkpoint_average}", "checkpoint_average, last: 4}"),
            "'tuned' keeps fewer checkpoints than last: 4 (got 3). "
            "Set in train.tuned: checkpoints: {every: N, last: 4}",
        ),
        (
            AVERAGE.replace("use: tuned", "use: base"),
            "'base' is no training run, so it has no checkpoints. Name an entry of train",
        ),
    ],
)
def test_average_without_enough_checkpoints_is_refused(tmp_path: Path, recipe: str, told: str) -> None:
    assert problems(make(tmp_path, recipe)) == [WHERE + told]


def test_average_of_a_broken_entry_is_told_once(tmp_path: Path) -> None:
    (problem,) = problems(make(tmp_path, KEEPING.replace("every: 5", "every: 0")))
    assert problem.startswith("recipe.yaml:10: train.tuned.checkpoints.every: must be at least 1")
