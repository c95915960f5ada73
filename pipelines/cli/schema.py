"""JSON Schema of recipes, for editors that complete and check them."""

import argparse

from pipelines.cli.arguments import answer
from pipelines.recipe.json_schema import recipe_schema


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments of its own."""


def main(args: argparse.Namespace) -> int:
    answer(recipe_schema())
    return 0
