"""Who shares scores: the base is measured once for every recipe that names the same weights and the same suite."""

from pathlib import Path

import pytest

from pipelines.engine.plan import make_plan
from pipelines.engine.stage import Launch
from pipelines.engine.store import Store
from pipelines.evaluate.config import STAGE
from pipelines.recipe.compile import compile_graph
from pipelines.recipe.load import load
from tests.unit.recipe import project

SUITE = "tasks:\n  skill: {task: piqa, metric: acc}\ntexts:\n  prose: {files: words.txt}\n"
OTHER = """\
burnish: 1
name: another
base: {path: base}
seed: 99
merge:
  mixed: {models: [{use: base}, {use: base}], method: {kind: linear}}
evaluate:
  suites: {nightly: evals/test.yaml}
"""


def keys(path: Path, *overrides: str) -> dict[str, str]:
    """The key of every stage of a recipe."""
    steps = make_plan(compile_graph(load(path, overrides)), Store(path.parent / "home"), "recipe")
    return {step.node.id: step.key for step in steps}


@pytest.fixture
def recipes(tmp_path):
    """Two recipes of one project with unlike names, seeds and stages."""
    first = project.make(tmp_path)
    for name in ("dev", "test"):
        (tmp_path / "evals" / f"{name}.yaml").write_text(SUITE)
    second = tmp_path / "other.yaml"
    second.write_text(OTHER)
    return first, second


def test_second_recipe_shares_the_scores_of_the_base(recipes):
    first, second = map(keys, recipes)
    assert first["evaluate.base@test"] == second["evaluate.base@nightly"]
    assert first["evaluate.best@test"] != first["evaluate.base@test"]


def test_edited_suite_or_other_rows_at_once_make_other_scores(recipes):
    _, second = recipes
    before = keys(second)["evaluate.base@nightly"]
    assert keys(second, "evaluate.batch_size=8")["evaluate.base@nightly"] != before
    assert keys(second, "evaluate.launch.processes=2")["evaluate.base@nightly"] == before
    (second.parent / "evals" / "test.yaml").write_text(SUITE + "sample_seed: 1\n")
    assert keys(second)["evaluate.base@nightly"] != before


def test_versions_of_what_scores_are_part_of_the_key():
    assert set(STAGE.packages) == {"lm-eval", "transformers", "torch", "python"}
    assert STAGE.resumable and STAGE.launched and STAGE.config.model_fields["launch"].annotation is Launch
