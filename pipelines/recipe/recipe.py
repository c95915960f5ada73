"""A recipe as checked values: every entry in its type, every value with its origin."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, NamedTuple

from pipelines.engine.stage import Config
from pipelines.gate.config import Gate
from pipelines.recipe.sections import EvaluateSection
from pipelines.recipe.shape import Path
from pipelines.recipe.yaml_file import Item, Origin, below, origin_of
from pipelines.report.config import ReportEntry


class Entry(NamedTuple):
    """Something that a recipe makes: node id, name, section, place and config; no config where it is wrong."""

    id: str
    name: str
    section: str
    path: Path
    config: Any


@dataclass(frozen=True)
class Recipe:
    """The effective recipe. Seeds are filled in and paths absolute; references are the names that the user wrote."""

    path: FilePath
    root: FilePath
    name: str
    seed: int
    overrides: Sequence[str]
    entries: Mapping[str, Entry]
    evaluate: EvaluateSection | None
    gates: tuple[tuple[int, Gate], ...]
    report: ReportEntry
    item: Item

    def origin(self, path: Path) -> Origin:
        """Where the value at `path` is written, or what is around it."""
        return origin_of(self.item, path)

    def states(self, path: Path) -> bool:
        """Whether the recipe itself says something at `path`."""
        return below(self.item, path) is not None

    def configs(self, section: str) -> dict[str, Config]:
        """The sound entries of a section by their names."""
        found = (entry for entry in self.entries.values() if entry.section == section and entry.config)
        return {entry.name: entry.config for entry in found}
