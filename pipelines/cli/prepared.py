"""The way from a recipe's path to a checked plan, which `plan` and `run` share."""

import argparse
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from pipelines.engine.digest import Digests
from pipelines.engine.home import home_of
from pipelines.engine.plan import Step, disk_problems, make_plan
from pipelines.engine.store import Store
from pipelines.errors import Problem, UserError, wrong
from pipelines.recipe.advised import with_advice
from pipelines.recipe.compile import compile_graph
from pipelines.recipe.load import Recipe, load
from pipelines.recipe.lock import check_lock, check_offline, with_lock
from pipelines.recipe.rooms import room_problems


@dataclass(frozen=True)
class Prepared:
    """A recipe, the store it writes to, its plan, and everything that is already known to be wrong."""

    recipe: Recipe
    store: Store
    steps: list[Step]
    problems: list[Problem]


def add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that name a recipe and say how strictly to read it."""
    parser.add_argument("recipe", type=Path, help="the recipe, a YAML file")
    parser.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", help="override a value: train.tuned.epochs=2"
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="this stage and what it is made from"
    )
    parser.add_argument("--locked", action="store_true", help="refuse anything that the lock file does not pin")
    parser.add_argument("--offline", action="store_true", help="refuse anything that needs the network")
    parser.add_argument("--verify", action="store_true", help="read the content of every cached file again")


def prepare(args: argparse.Namespace) -> Prepared:
    """Load, compile, plan and check. Raises UserError for a recipe that cannot be planned."""
    recipe = load(args.recipe, args.set)
    graph = compile_graph(recipe)
    if args.only:
        graph = graph.upstream(chosen(args.only, list(graph.nodes)))
    store = Store(home_of(recipe.root))
    if args.locked:
        if problems := check_lock(recipe, graph, Digests(store.home / "digests.json")):
            raise UserError(*problems)
        graph = with_lock(recipe, graph)
    steps = make_plan(graph, store, recipe.name, args.verify)
    advised = with_advice(recipe, graph, steps, store)
    if advised is not graph:
        steps = make_plan(advised, store, recipe.name)
    todo = [step.node for step in steps if not step.record]
    problems = check_offline(todo, store.home) if args.offline else []
    problems += room_problems(recipe, graph, todo) + disk_problems(steps, store)
    return Prepared(recipe, store, steps, problems)


def chosen(names: list[str], ids: list[str], asked: str = "--only") -> list[str]:
    """The ids that the names stand for: an id itself, or the part after its dot. Raises UserError for unknown names.

    `asked` is the argument that named them.
    """
    found = []
    for name in names:
        matches = [item for item in ids if item == name or item.partition(".")[2] == name]
        if not matches:
            close = get_close_matches(name, ids + [item.partition(".")[2] for item in ids], n=1)
            fix = f"Did you mean {close[0]}?" if close else f"There are {', '.join(ids)}"
            raise wrong(asked, "no such stage", name, fix)
        found += matches
    return found
