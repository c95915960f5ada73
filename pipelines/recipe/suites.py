"""Suites, and the scores and groups in them, as rules name them: gates, selections and searches."""

from collections.abc import Iterable

from pipelines.evaluate.config import Suite
from pipelines.recipe.mistakes import at, closest
from pipelines.recipe.names import Names
from pipelines.recipe.recipe import Recipe
from pipelines.recipe.shape import Path


def suite_of(recipe: Recipe, names: Names, name: str, path: Path) -> Suite | None:
    """The suite that is named at `path`; that there is none is noted."""
    suites = recipe.evaluate.suites if recipe.evaluate else {}
    if name not in suites:
        fix = closest(name, suites) or (f"There are {', '.join(suites)}" if suites else "Add evaluate: {suites: …}")
        names.problems.append(at(recipe.origin(path), path, "no suite has this name", f"'{name}'", fix))
    return suites.get(name)


def check_known(recipe: Recipe, names: Names, path: Path, word: str, known: Iterable[str], what: str) -> None:
    """Note a word at `path` that is none of those that a suite knows."""
    words = sorted(set(known))
    if word not in words:
        fix = closest(word, words) or f"There are {', '.join(words)}"
        names.problems.append(at(recipe.origin(path), path, f"is no {what}", f"'{word}'", fix))


def check_not_gated(recipe: Recipe, names: Names, suite: str, path: Path, doing: str) -> None:
    """What picks among models must not do so on the documents that judge the one it picks."""
    if suite in {gate.suite for _, gate in recipe.gates}:
        what = f"'{suite}' is gated too: {doing} on the suite that is gated is selection bias"
        where = (*path, "suite")
        names.problems.append(at(recipe.origin(where), where, what, "", "Use two suites"))
