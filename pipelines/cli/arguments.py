"""Arguments that the verbs share."""

import argparse
import json
import sys
from pathlib import Path


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """The recipe and the settings laid over it."""
    parser.add_argument("recipe", type=Path, help="the recipe, a YAML file")
    parser.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", help="override a value: train.tuned.epochs=2"
    )


def positive(word: str) -> int:
    """A number of things, for argparse: at least one."""
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, at least 1 (got {word})")
    return int(word)


def answer(value: object) -> None:
    """Write a value to stdout as JSON."""
    sys.stdout.write(json.dumps(value, indent=1, ensure_ascii=False) + "\n")
