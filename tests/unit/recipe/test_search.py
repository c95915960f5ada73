"""Searches in a recipe: the node that they become, and what is said about those that cannot be."""

from pathlib import Path

import pytest

from pipelines.merge.config import STAGE as MERGE
from pipelines.recipe.compile import compile_graph
from pipelines.recipe.explain import explain
from pipelines.recipe.load import load
from pipelines.search.config import STAGE as SEARCH
from pipelines.search.config import SearchConfig
from tests.unit.recipe.project import RECIPE, make, problems

KEPT = "  kept: {models: [{use: tuned}], method: {kind: interpolate, alpha: 0.7}}\n"
SEARCH_LINES = """\
  kept:
    models: [{use: tuned}, {use: whole, weight: 0.5}]
    method: {kind: ties}
    search:
      over: {method.lambda: [0.6, 0.8], models.tuned.weight: [0.5, 1]}
      objective: {maximize: skill/acc}
      subject_to: {general: {max_drop: 0.02}}
"""
SOUND = RECIPE.replace(KEPT, SEARCH_LINES)
OVER = "over: {method.lambda: [0.6, 0.8], models.tuned.weight: [0.5, 1]}"
LINE = "recipe.yaml:17: merge.kept.search.over."
RANGES = "by: cmaes\n      over: {method.lambda: {low: 0, high: 1}, models.*.weight: {low: 0, high: 1}}"


def compiled(folder: Path, text: str = SOUND) -> SearchConfig:
    node = compile_graph(load(make(folder, text))).nodes["merge.kept"]
    assert node.stage is SEARCH and isinstance(node.config, SearchConfig)
    return node.config


def test_search_becomes_a_stage_with_all_that_it_needs(tmp_path: Path) -> None:
    found = compiled(tmp_path)
    assert found.over == {"method.lambda": (0.6, 0.8), "models.0.weight": (0.5, 1)}
    assert (found.merge.base, found.merge.models[0].use) == ("base", "train.tuned")
    assert found.scores == "evaluate.base@dev"
    assert found.evaluate.model == "base" and "prose" in found.evaluate.suite.texts
    assert found.seed == 17, "the recipe's seed"
    assert type(found.merge).__name__ == "MergeConfig"


def test_search_measures_the_base_on_its_suite_and_nothing_else(tmp_path: Path) -> None:
    text = SOUND.replace("from: [tuned, kept]", "from: [kept, whole]").replace("suite: dev}", "suite: other}")
    text = text.replace("suites: {dev:", "suites: {other: evals/dev.yaml, dev:")
    graph = compile_graph(load(make(tmp_path, text)))
    assert [name for name in graph.nodes if name.endswith("@dev")] == ["evaluate.base@dev"]
    assert "evaluate.best@test" in graph.nodes and "evaluate.kept@other" in graph.nodes
    order = list(graph.nodes)
    assert order.index("evaluate.base@dev") < order.index("merge.kept") < order.index("evaluate.kept@other")


def test_merge_without_a_search_is_a_plain_merge(tmp_path: Path) -> None:
    node = compile_graph(load(make(tmp_path))).nodes["merge.kept"]
    assert node.stage is MERGE and type(node.config).__name__ == "MergeConfig"


def test_weights_of_all_models_are_one_parameter_each(tmp_path: Path) -> None:
    found = compiled(tmp_path, SOUND.replace(OVER, RANGES))
    assert list(found.over) == ["method.lambda", "models.0.weight", "models.1.weight"]


def test_keys_with_dots_are_explained_and_set(tmp_path: Path) -> None:
    path = make(tmp_path, SOUND)
    recipe = load(path, ["merge.kept.search.over.method.lambda=[0.1, 0.2]"])
    (one,) = explain(recipe, "merge.kept.search.over.method.lambda")
    assert one.value == [0.1, 0.2] and one.origin == "--set merge.kept.search.over.method.lambda"


CASES: dict[str, tuple[str, str, list[str]]] = {
    "misspelt path": (
        "method.lambda:",
        "method.lamda:",
        [f"{LINE}method.lamda: no such parameter in this merge (got 'method.lamda'). Did you mean 'method.lambda'?"],
    ),
    "path of another method": (
        "method.lambda:",
        "zzz:",
        [
            f"{LINE}zzz: no such parameter in this merge (got 'zzz'). There are method.density, method.lambda, "
            "method.scope, method.sign, models.*.weight, models.tuned.weight, models.whole.weight, models.0.weight"
        ],
    ),
    "model that is not merged": (
        "models.tuned.weight",
        "models.tunde.weight",
        [
            f"{LINE}models.tunde.weight: no such parameter in this merge (got 'models.tunde.weight'). "
            "Did you mean 'models.tuned.weight'?"
        ],
    ),
    "value out of bounds": (
        "method.lambda: [0.6, 0.8]",
        "method.density: [0.5, 1.5]",
        [f"{LINE}method.density.1: must be at most 1 (got 1.5)"],
    ),
    "value of another kind": (
        "method.lambda: [0.6, 0.8]",
        "method.scope: [tensor, rows]",
        [f"{LINE}method.scope.1: must be one of tensor, row, global (got 'rows'). Did you mean 'row'?"],
    ),
    "weight without a meaning": (
        "[0.5, 1]",
        "[-0.5, 1]",
        [
            f"{LINE}models.tuned.weight.0: negative weights have no meaning in ties, where signs or directions are "
            "averaged; use task_arithmetic"
        ],
    ),
    "range out of bounds": (
        OVER,
        "over: {method.density: {low: 0.5, high: 1.5}}\n      by: tpe",
        [f"{LINE}method.density.high: must be at most 1 (got 1.5)"],
    ),
    "fractions for a whole number": (
        "method: {kind: ties}\n    search:\n      " + OVER,
        "method: {kind: dare}\n    search:\n      by: tpe\n      over: {method.seed: {low: 1, high: 4}}",
        ["recipe.yaml:18: merge.kept.search.over.method.seed: must be a whole number (got 2.5). Add step: 1"],
    ),
    "range in a grid": (
        "[0.6, 0.8]",
        "{low: 0.5, high: 1}",
        [f"{LINE}method.lambda: by: grid takes a list, and this is a range. Write a list of values, or use by: tpe"],
    ),
    "list for cmaes": (
        OVER,
        "by: cmaes\n      over: {method.lambda: [1, 2]}",
        [
            "recipe.yaml:18: merge.kept.search.over.method.lambda: by: cmaes takes a range, and this is a list. "
            "Write {low: …, high: …}, or use by: tpe"
        ],
    ),
    "one parameter for cmaes": (
        OVER,
        "by: cmaes\n      over: {method.lambda: {low: 0, high: 1}}",
        [
            "recipe.yaml:18: merge.kept.search.over: cmaes needs two parameters or more, and there is one. "
            "Use by: tpe, or a list and by: grid"
        ],
    ),
    "parameter named twice": (
        "method.lambda:",
        "models.0.weight:",
        [f"{LINE}models.tuned.weight: 'models.0.weight' is searched over already (got 'models.tuned.weight')"],
    ),
    "number for a list": ("[0.6, 0.8]", "0.6", [f"{LINE}method.lambda: must be a list (got 0.6)"]),
    "empty list": ("[0.6, 0.8]", "[]", [f"{LINE}method.lambda: must not be empty"]),
    "misspelt key of a range": (
        "[0.6, 0.8]",
        "{low: 0, hihg: 1}",
        [
            f"{LINE}method.lambda.high: is missing. Largest value.",
            f"{LINE}method.lambda.hihg: unknown key. Did you mean 'high'?",
        ],
    ),
    "range upside down": (
        "[0.6, 0.8]",
        "{low: 2, high: 1}",
        [f"{LINE}method.lambda: low must be less than high (got 2 and 1)"],
    ),
    "suite that is gated": (
        "objective:",
        "suite: test\n      objective:",
        [
            "recipe.yaml:18: merge.kept.search.suite: 'test' is gated too: searching on the suite that is gated is "
            "selection bias. Use two suites"
        ],
    ),
    "suite that is not there": (
        "objective:",
        "suite: dve\n      objective:",
        ["recipe.yaml:18: merge.kept.search.suite: no suite has this name (got 'dve'). Did you mean 'dev'?"],
    ),
    "score that is not there": (
        "{maximize: skill/acc}\n",
        "{maximize: skill/ac}\n",
        [
            "recipe.yaml:18: merge.kept.search.objective.maximize: is no score of suite 'dev' (got 'skill/ac'). "
            "Did you mean 'skill/acc'?"
        ],
    ),
    "two goals": (
        "{maximize: skill/acc}\n",
        "{maximize: skill/acc, minimize: skill/acc}\n",
        ["recipe.yaml:18: merge.kept.search.objective: name exactly one of maximize and minimize"],
    ),
    "group that is not there": (
        "{general: {max_drop: 0.02}}\n",
        "{generel: {max_drop: 0.02}}\n",
        [
            "recipe.yaml:19: merge.kept.search.subject_to.generel: is no group of suite 'dev' (got 'generel'). "
            "Did you mean 'general'?"
        ],
    ),
    "nothing to search over": (
        f"      {OVER}\n",
        "",
        [
            "recipe.yaml:16: merge.kept.search: name something to search over, such as over: {method.lambda: "
            "[0.6, 0.8, 1.0]}"
        ],
    ),
    "greedy of another method": (
        OVER,
        "by: greedy",
        ["recipe.yaml:13: merge.kept: by: greedy is the soup of method linear, not of ties"],
    ),
    "greedy over something": (
        OVER,
        OVER + "\n      by: greedy",
        ["recipe.yaml:16: merge.kept.search: by: greedy chooses among the models; leave over out"],
    ),
    "greedy with too few trials": (
        "method: {kind: ties}\n    search:\n      " + OVER,
        "method: {kind: linear}\n    search:\n      by: greedy\n      trials: 2",
        ["recipe.yaml:13: merge.kept: a greedy soup of 2 models takes 3 trials, and trials is 2"],
    ),
    "unknown model": (
        "{use: tuned}, {use: whole",
        "{use: tuned}, {use: hole",
        ["recipe.yaml:14: merge.kept.models.1.use: no entry has this name (got 'hole'). Did you mean 'whole'?"],
    ),
}


@pytest.mark.parametrize(("old", "new", "said"), CASES.values(), ids=CASES)
def test_search_that_cannot_be_says_why(tmp_path: Path, old: str, new: str, said: list[str]) -> None:
    assert old in SOUND
    assert problems(make(tmp_path, SOUND.replace(old, new, 1))) == said


def test_grid_points_that_exclude_each_other_are_no_mistake(tmp_path: Path) -> None:
    text = SOUND.replace(OVER, "over: {models.tuned.weight: [0, 1], models.whole.weight: [0, 1]}")
    assert problems(make(tmp_path, text)) == []
