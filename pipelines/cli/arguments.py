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


def answer(value: object) -> None:
    """Write a value to stdout as JSON."""
    sys.stdout.write(json.dumps(value, indent=1, ensure_ascii=False) + "\n")
