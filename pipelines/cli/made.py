"""From a recipe and a name to what was made of it, which `show` and `inspect` share."""

import argparse

from pipelines.cli.prepared import chosen
from pipelines.engine.home import home_of
from pipelines.engine.plan import Step, make_plan
from pipelines.engine.store import Store
from pipelines.errors import wrong
from pipelines.recipe.compile import compile_graph
from pipelines.recipe.load import load


def steps_of(args: argparse.Namespace) -> tuple[Store, dict[str, Step]]:
    """The store and the plan's steps by node id, for what `args.name` is made from and itself."""
    recipe = load(args.recipe, args.set)
    graph = compile_graph(recipe)
    store = Store(home_of(recipe.root))
    steps = make_plan(graph.upstream([chosen_one(args.name, list(graph.nodes))]), store, recipe.name)
    return store, {step.node.id: step for step in steps}


def chosen_one(name: str, ids: list[str]) -> str:
    """The one node that a name stands for. Raises UserError."""
    found = chosen([name], ids, "NAME")
    if len(found) > 1:
        raise wrong("NAME", f"'{name}' means several stages", ", ".join(found), "Give the id of one")
    return found[0]
