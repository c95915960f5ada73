"""A folder again without its bytes."""

import os
import shutil
from pathlib import Path


def link(source: Path, target: Path) -> None:
    """Every file of `source` under `target`, as a hard link. File systems without them get a copy."""
    for path in sorted(source.rglob("*")):
        copy = target / path.relative_to(source)
        if path.is_dir():
            copy.mkdir(parents=True, exist_ok=True)
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, copy)
        except OSError:
            shutil.copyfile(path, copy)
