"""A task of a suite with every reference resolved."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class Ready(NamedTuple):
    """What a suite says of one task, with every reference resolved. `where` is its place, for errors."""

    name: str
    where: str
    yaml: Path
    own: bool
    needs: tuple[Path, ...]
    documents: Mapping[str, Path] | None
    metric: str
    filter: str
    shots: int | None
    cluster_by: str | None = None
