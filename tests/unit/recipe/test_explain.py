from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.recipe.explain import explain
from pipelines.recipe.load import load
from tests.unit.recipe.project import RECIPE, make


def test_explain_written_value_names_its_line(tmp_path: Path) -> None:
    (one,) = explain(load(make(tmp_path)), "train.tuned.learning_rate")
    assert (one.value, one.description, one.default) == (1e-3, "Peak learning rate.", None)
    assert one.origin.endswith("recipe.yaml:10")


def test_explain_default_says_so(tmp_path: Path) -> None:
    (one,) = explain(load(make(tmp_path)), "train.tuned.batch_size")
    assert (one.value, one.origin, one.default) == (8, "default", 8)


def test_explain_seed_of_an_entry_comes_from_the_recipe(tmp_path: Path) -> None:
    (one,) = explain(load(make(tmp_path)), "train.tuned.seed")
    assert (one.value, one.origin) == (17, "the recipe's seed")


def test_explain_setting_of_the_command_line_names_it(tmp_path: Path) -> None:
    (one,) = explain(load(make(tmp_path), ["train.tuned.epochs=3"]), "train.tuned.epochs")
    assert (one.value, one.origin) == (3.0, "--set train.tuned.epochs")


def test_explain_inherited_value_names_the_file_it_is_in(tmp_path: Path) -> None:
    make(tmp_path)
    child = tmp_path / "child.yaml"
    child.write_text("extends: recipe.yaml\nseed: 3\n")
    recipe = load(child)
    assert explain(recipe, "train.tuned.method.rank")[0].origin.endswith("recipe.yaml:10")
    assert explain(recipe, "seed")[0].origin.endswith("child.yaml:2")


def test_explain_value_of_a_suite_names_the_suites_file(tmp_path: Path) -> None:
    (one,) = explain(load(make(tmp_path)), "evaluate.suites.test.tasks.skill.metric")
    assert one.value == "acc"
    assert one.origin.endswith("evals/test.yaml:2")


def test_explain_part_lists_everything_below(tmp_path: Path) -> None:
    recipe = load(make(tmp_path))
    assert {one.path for one in explain(recipe, "gates.0")} >= {"gates.0.suite", "gates.0.alpha"}
    assert len(explain(recipe, "")) > len(explain(recipe, "train")) > len(explain(recipe, "train.tuned"))


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("train.tuned.learning_rat", "train.tuned has no 'learning_rat'. Did you mean 'learning_rate'?"),
        ("trian", "the recipe has no 'trian'. Did you mean 'train'?"),
        ("merge.kept.method.zzz", "merge.kept.method has no 'zzz'. It has alpha, kind"),
    ],
)
def test_explain_unknown_path_points_at_the_part(tmp_path: Path, path: str, said: str) -> None:
    with pytest.raises(UserError) as error:
        explain(load(make(tmp_path, RECIPE)), path)
    assert str(error.value).endswith(said)
