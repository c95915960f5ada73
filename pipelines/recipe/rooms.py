"""What the rooms find wrong in the configs that a recipe gives them, with the lines that say so."""

from collections.abc import Iterable

from pipelines.engine.graph import Graph, Node
from pipelines.engine.imports import load_attribute
from pipelines.errors import Problem
from pipelines.recipe.mistakes import in_order
from pipelines.recipe.recipe import Recipe
from pipelines.recipe.shape import Path
from pipelines.recipe.templates import template_problems
from pipelines.serving.environments import of_project


def room_problems(recipe: Recipe, graph: Graph, nodes: Iterable[Node]) -> list[Problem]:
    """Everything that the rooms' light checks say of the nodes, which are some or all of the graph's."""
    nodes = list(nodes)
    found = [placed(recipe, identity, problem) for identity, problem in template_problems(graph, nodes)]
    with of_project(recipe.root):
        for node in nodes:
            if node.stage.check:
                found += [placed(recipe, node.id, problem) for problem in load_attribute(node.stage.check)(node.config)]
    return in_order(found)


def placed(recipe: Recipe, identity: str, problem: Problem) -> Problem:
    """A room's problem with the line of the recipe that it is about. Where it names a file, the line comes with it."""
    path = _path(recipe, identity)
    where = problem.where.removeprefix("suite.") if path[0] == "evaluate" else problem.where
    if path[0] == "evaluate" and where == "backend":  # which the section states, not the suite
        path = ("evaluate",)
    inside: Path = (*path, *where.split("."))
    if recipe.states(inside):
        path = inside
    place = f"{recipe.origin(path)}: {'.'.join(map(str, path))}"
    told = "" if problem.where in ("", ".".join(map(str, path))) or path == inside else f"{problem.where}: "
    return problem._replace(where=place, what=f"{told}{problem.what}")


def _path(recipe: Recipe, identity: str) -> Path:
    if identity in recipe.entries:
        return recipe.entries[identity].path
    section, _, rest = identity.partition(".")
    if section == "evaluate":
        return ("evaluate", "suites", rest.rpartition("@")[2].partition(".")[0])
    if section == "export":
        return (section, rest.partition(".")[0])
    return (section, rest) if rest else (section,)
