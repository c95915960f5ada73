"""Pin what a recipe reads from outside: the commit of every hub name and the digest of every file."""

import argparse
import sys

from pipelines.cli.arguments import add_recipe, answer
from pipelines.engine.imports import load_attribute
from pipelines.recipe.compile import compile_graph
from pipelines.recipe.load import load
from pipelines.recipe.lock import hub_names, lock_path, make_lock, write_lock
from pipelines.recipe.yaml_file import shown_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe(parser)


def main(args: argparse.Namespace) -> int:
    recipe = load(args.recipe, args.set)
    graph = compile_graph(recipe)
    names = hub_names(graph)
    # Reached by name: most recipes need no hub, and its client is not part of a core installation.
    commits = load_attribute("pipelines.recipe.hub:resolve")(names) if names else {}
    lock = make_lock(recipe, graph, commits)
    path = lock_path(recipe)
    write_lock(path, lock)
    if args.json:
        answer({"path": str(path), **lock._asdict()})
    else:
        sys.stdout.write(f"{shown_path(path)}: {len(lock.hub)} hub names and {len(lock.files)} files pinned.\n")
    return 0
