"""Write a commented recipe to start from."""

import argparse
import importlib.resources
import re
import sys
from pathlib import Path

from pipelines.cli.arguments import answer
from pipelines.errors import wrong
from pipelines.recipe.files import project_root

IGNORED = ".burnish/"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, nargs="?", default=Path("recipe.yaml"), help="default: recipe.yaml")


def main(args: argparse.Namespace) -> int:
    path: Path = args.path
    if path.exists():
        raise wrong(str(path), "is there already", "", "Name another file; nothing was overwritten")
    text = importlib.resources.files("pipelines.recipe").joinpath("starter.yaml").read_text(encoding="utf-8")
    name = re.sub(r"[^A-Za-z0-9_-]", "-", path.stem)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.format(path=path.as_posix(), name=name), encoding="utf-8")
    ignore = project_root(path) / ".gitignore"
    _ignore(ignore)
    if args.json:
        answer({"recipe": str(path), "ignore": str(ignore)})
    else:
        sys.stdout.write(f"Wrote {path}. Put your data where it says, then: burnish validate {path}\n")
    return 0


def _ignore(path: Path) -> None:
    """Keep results out of version control."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    if not {IGNORED, f"/{IGNORED}", IGNORED.rstrip("/")} & set(lines):
        path.write_text("\n".join([*lines, IGNORED, ""]), encoding="utf-8")
