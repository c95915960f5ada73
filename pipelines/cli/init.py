"""Write a commented recipe to start from."""

import argparse
import importlib.resources
import json
import os
import re
import sys
from functools import partial
from pathlib import Path

from pipelines.cli.arguments import answer
from pipelines.engine.home import project_root
from pipelines.errors import wrong
from pipelines.recipe.from_mergekit import Translation, from_mergekit
from pipelines.recipe.mergekit_sources import Folder
from pipelines.recipe.yaml_file import plain, read_yaml, shown_path

IGNORED = ".burnish/"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, nargs="?", default=Path("recipe.yaml"), help="default: recipe.yaml")
    parser.add_argument(
        "--from-mergekit", type=Path, metavar="CONFIG", help="a YAML file of mergekit, which becomes the recipe"
    )


def main(args: argparse.Namespace) -> int:
    path: Path = args.path
    if path.exists():
        raise wrong(str(path), "is there already", "", "Name another file; nothing was overwritten")
    made = _translated(args.from_mergekit, path) if args.from_mergekit else Translation(_starter(path), ())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(made.text, encoding="utf-8")
    ignore = project_root(path) / ".gitignore"
    _ignore(ignore)
    if args.json:
        answer({"recipe": str(path), "ignore": str(ignore), "notes": list(made.notes)})
    else:
        data = "" if args.from_mergekit else "Put your data where it says, then: "
        notes = "".join(f"- {note}\n" for note in made.notes)
        sys.stdout.write(f"Wrote {path}. {data}burnish validate {path}\n{notes}")
    return 0


def _starter(path: Path) -> str:
    text = importlib.resources.files("pipelines.recipe").joinpath("starter.yaml").read_text(encoding="utf-8")
    name = re.sub(r"[^A-Za-z0-9_-]", "-", path.stem)
    return text.format(path=path.as_posix(), name=name)


def _translated(config: Path, path: Path) -> Translation:
    """The recipe for a mergekit file, whose models are looked for from the working folder as mergekit does."""
    look = partial(_folder, project_root(path))
    return from_mergekit(plain(read_yaml(config)), shown_path(config), path.as_posix(), look)


def _folder(root: Path, model: str) -> Folder | None:
    """A model that is a folder here, its path as a recipe in `root` writes it."""
    folder = Path(model).expanduser()
    if not folder.is_dir():
        return None
    inside = folder.resolve().is_relative_to(root.resolve())
    written = os.path.relpath(folder, root) if inside else str(folder.resolve())
    return Folder(Path(written).as_posix(), _layers(folder / "config.json"))


def _layers(config: Path) -> int | None:
    try:
        settings = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    layers = settings.get("num_hidden_layers") if isinstance(settings, dict) else None
    return layers if isinstance(layers, int) else None


def _ignore(path: Path) -> None:
    """Keep results out of version control."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    if not {IGNORED, f"/{IGNORED}", IGNORED.rstrip("/")} & set(lines):
        path.write_text("\n".join([*lines, IGNORED, ""]), encoding="utf-8")
