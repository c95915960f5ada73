"""Paths of a recipe: relative to the project's root, globs expanded, every one there."""

import glob
from pathlib import Path

from pipelines.engine.stage import InputPath
from pipelines.recipe.mistakes import closest


class Missing(Exception):
    """What is wrong with a path, and what may have been meant."""

    def __init__(self, what: str, fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix


def absolute(written: str, root: Path, globs: bool) -> InputPath | tuple[InputPath, ...]:
    """The path in full, or every file that a glob matches, sorted. Raises Missing where there is none."""
    path = root / Path(written).expanduser()
    if globs and glob.has_magic(written) and not path.exists():
        start, pattern = Path(path.anchor), str(path.relative_to(path.anchor))
        found = sorted(str(match) for match in start.glob(pattern) if match.is_file())
        if not found:
            raise Missing("matches no file")
        return tuple(InputPath(match) for match in found)
    if not path.exists():
        raise Missing("there is no such file or folder", _near(path, root))
    return InputPath(str(path.resolve()))


def _near(path: Path, root: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"Paths are relative to {root}" if path.is_relative_to(root) else ""
    return closest(path.name, sorted(item.name for item in folder.iterdir()))
