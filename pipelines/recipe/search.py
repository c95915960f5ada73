"""Searches of a recipe: whether what they name is there and may have the values that are tried, and their nodes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from pipelines.engine.graph import Node
from pipelines.engine.stage import ScoresRef
from pipelines.errors import Problem
from pipelines.evaluate.config import EvaluateConfig, Server, score_groups
from pipelines.merge.config import MergeConfig
from pipelines.recipe.mistakes import at, closest, translate
from pipelines.recipe.names import Names
from pipelines.recipe.recipe import Recipe
from pipelines.recipe.shape import Path
from pipelines.recipe.suites import check_known, check_not_gated, suite_of
from pipelines.recipe.yaml_file import Item, Origin
from pipelines.search.config import STAGE as SEARCH
from pipelines.search.config import MergeEntry, Over, Range, Rules, Search, SearchConfig
from pipelines.search.space import Params, canonical, changed, ends, places

_PARTS: tuple[Path, ...] = (("low",), (), ("high",))
"""What of a range is tried: its ends, and a number between them."""


def searches(
    recipe: Recipe, names: Names, measured: Sequence[Node], scores: Mapping[str, Mapping[str, ScoresRef]]
) -> list[Node]:
    """A node for every search that has no mistake in it; the mistakes of the others are told."""
    nodes = []
    for name, entry in recipe.configs("merge").items():
        if not isinstance(entry, MergeEntry) or entry.search is None:
            continue
        path: Path = ("merge", name)
        before = len(names.problems)
        names.problems += _space_problems(recipe, entry, (*path, "search", "over"))
        _check_rule(recipe, names, entry.search, (*path, "search"))
        if names.needs_base(path) and len(names.problems) == before:
            base = scores[entry.search.suite]["base"]
            evaluate = next(node.config for node in measured if node.id == base)
            assert isinstance(evaluate, EvaluateConfig)
            merge = names.resolved(entry.plain(), path)
            nodes.append(Node(f"merge.{name}", SEARCH, _config(entry, entry.search, merge, evaluate, base)))
    return nodes


def _config(
    entry: MergeEntry, search: Search, merge: MergeConfig, evaluate: EvaluateConfig, base: ScoresRef
) -> SearchConfig:
    rules = {name: getattr(search, name) for name in Rules.model_fields}
    known = places(entry)
    over = {canonical(place): values for written, values in search.over.items() for place in known[written]}
    return SearchConfig(**rules | {"over": over}, merge=merge, evaluate=evaluate, scores=base)


def _check_rule(recipe: Recipe, names: Names, search: Search, path: Path) -> None:
    """The suite must be there and not be gated, and have the score and the groups that the search names."""
    check_not_gated(recipe, names, search.suite, path, "searching")
    if recipe.evaluate and isinstance(recipe.evaluate.backend, Server):
        what, fix = "a server has none of the models that a search makes", "Use backend: {kind: hf} or {kind: vllm}"
        names.problems.append(at(recipe.origin(path), path, what, "", fix))
    suite = suite_of(recipe, names, search.suite, (*path, "suite"))
    if suite is None:
        return
    groups = score_groups(suite)
    goal = "maximize" if search.objective.maximize else "minimize"
    where = (*path, "objective", goal)
    check_known(recipe, names, where, search.objective.metric, groups, f"score of suite '{search.suite}'")
    for group in search.subject_to:
        where = (*path, "subject_to", group)
        check_known(recipe, names, where, group, groups.values(), f"group of suite '{search.suite}'")


def _space_problems(recipe: Recipe, entry: MergeEntry, path: Path) -> Iterator[Problem]:
    """Paths that lead nowhere, and values that their places cannot have or that the search cannot try."""
    assert entry.search is not None
    known, taken = places(entry), dict[Any, str]()
    for written, values in entry.search.over.items():
        where = (*path, written)
        if written not in known:
            named = sorted(known, key=lambda one: (one.startswith("models."), one.split(".")[1].isdecimal(), one))
            fix = closest(written, known) or f"There are {', '.join(named[:8])}"
            yield at(recipe.origin(where), where, "no such parameter in this merge", f"'{written}'", fix)
            continue
        for place in known[written]:
            if place in taken:
                yield at(recipe.origin(where), where, f"'{taken[place]}' is searched over already", f"'{written}'")
            taken.setdefault(place, written)
        if problem := _unfit(recipe, entry.search, values, where):
            yield problem
        else:
            yield from _value_problems(recipe, entry, written, where)
    sampled = [values for values in entry.search.over.values() if isinstance(values, Range)]
    if entry.search.by == "cmaes" and len(taken) == 1 and sampled:
        what = "cmaes needs two parameters or more, and there is one"
        yield at(recipe.origin(path), path, what, "", "Use by: tpe, or a list and by: grid")


def _unfit(recipe: Recipe, search: Search, values: Over, where: Path) -> Problem | None:
    """Lists are for grids, and ranges are not."""
    if search.by == "grid" and isinstance(values, Range):
        fix = "Write a list of values, or use by: tpe"
        return at(recipe.origin(where), where, "by: grid takes a list, and this is a range", "", fix)
    if search.by == "cmaes" and not isinstance(values, Range):
        fix = "Write {low: …, high: …}, or use by: tpe"
        return at(recipe.origin(where), where, "by: cmaes takes a range, and this is a list", "", fix)
    return None


def _value_problems(recipe: Recipe, entry: MergeEntry, written: str, where: Path) -> Iterator[Problem]:
    """Values with which the merge has no meaning, whatever the other searched parameters are."""
    assert entry.search is not None
    merge, known, values = entry.plain(), places(entry), entry.search.over[written]
    over = entry.search.over.items()
    others = {canonical(place): list(ends(tried)) for path, tried in over for place in known.get(path, ())}
    rest = [{}, {path: every[0] for path, every in others.items()}, {path: every[-1] for path, every in others.items()}]
    one = canonical(known[written][0])
    for index, value in enumerate(others[one]):
        inside: Path = (*where, *_PARTS[index]) if isinstance(values, Range) else (*where, index)
        tried = [_mistake(merge, with_this | {one: value}, recipe.origin(inside)) for with_this in rest]
        if all(tried) and (problem := tried[0]):
            fraction = inside == where and "whole number" in problem.what
            fix = "Add step: 1" if fraction else problem.fix
            yield problem._replace(where=at(recipe.origin(inside), inside, "").where, fix=fix)


def _mistake(merge: MergeConfig, params: Params, origin: Origin) -> Problem | None:
    """What is wrong with the merge with these parameters."""
    content = changed(merge, params)
    try:
        MergeConfig.model_validate(content)
    except ValidationError as error:
        return next(iter(translate(error, MergeConfig, _item(content, origin), ())))
    return None


def _item(value: Any, origin: Origin) -> Item:
    """A plain value as if it had been written at `origin`."""
    if isinstance(value, dict):
        return Item({key: _item(inner, origin) for key, inner in value.items()}, origin)
    return Item([_item(inner, origin) for inner in value] if isinstance(value, list) else value, origin)
