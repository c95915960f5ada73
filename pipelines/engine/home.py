"""Where a project begins, and where what is made for it is kept."""

import os
from pathlib import Path

ROOT_MARKS = ("pyproject.toml", ".git", "burnish.yaml")


def project_root(recipe: Path) -> Path:
    """The nearest folder at or above the recipe that is marked as a project, else the recipe's own."""
    folder = recipe.resolve().parent
    marked = (above for above in (folder, *folder.parents) if any((above / mark).exists() for mark in ROOT_MARKS))
    return next(marked, folder)


def home_of(root: Path) -> Path:
    """$BURNISH_HOME, or .burnish beside the project's root."""
    return Path(os.environ.get("BURNISH_HOME") or root / ".burnish").absolute()
