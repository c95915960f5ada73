"""A value of the effective recipe: what it is, the line, setting or default it comes from, and what it means."""

import argparse
import json
import sys

from pipelines.cli.arguments import add_recipe, answer
from pipelines.recipe.explain import Explained, explain
from pipelines.recipe.load import load


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe(parser)
    parser.add_argument("path", nargs="?", default="", help="train.tuned.learning_rate, or a part of it; default: all")


def main(args: argparse.Namespace) -> int:
    found = explain(load(args.recipe, args.set), args.path)
    if args.json:
        answer([one._asdict() for one in found])
    elif len(found) == 1:
        sys.stdout.write(_one(found[0]))
    else:
        sys.stdout.write(_many(found))
    return 0


def _one(one: Explained) -> str:
    lines = [f"{one.path} = {_shown(one.value)}", f"  from     {one.origin}", f"  default  {_shown(one.default)}"]
    return "\n".join([*lines, *([f"  meaning  {one.description}"] if one.description else []), ""])


def _many(found: list[Explained]) -> str:
    wide = max(len(one.path) for one in found)
    values = [_shown(one.value) for one in found]
    middle = min(40, max(map(len, values)))
    rows = zip(found, values, strict=True)
    return "".join(f"{one.path:<{wide}}  {value:<{middle}}  {one.origin}\n" for one, value in rows)


def _shown(value: object) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
