"""Say everything that is wrong with a recipe; nothing is started and no model is loaded."""

import argparse
import sys

from pipelines.cli.arguments import add_recipe, answer
from pipelines.cli.push import clashes
from pipelines.errors import UserError
from pipelines.recipe.compile import compile_graph
from pipelines.recipe.load import load
from pipelines.recipe.rooms import room_problems


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe(parser)


def main(args: argparse.Namespace) -> int:
    recipe = load(args.recipe, args.set)
    graph = compile_graph(recipe)
    if problems := [*room_problems(recipe, graph, graph), *clashes(recipe)]:
        raise UserError(*problems)
    if args.json:
        answer({"recipe": recipe.name, "stages": list(graph.nodes), "problems": []})
    else:
        sys.stdout.write(f"{args.recipe} is fine: {len(graph.nodes)} stages.\n")
    return 0
