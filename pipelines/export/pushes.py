"""Which folders of an export go to which repository of the hub: known without asking it."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from pipelines.export.config import Hub

_ROOT = "safetensors"
_GGUF = "GGUF"


class Push(NamedTuple):
    """A repository, and the local file of every path in it."""

    repo: str
    private: bool
    branch: str
    formats: tuple[str, ...]
    files: dict[str, Path]

    @property
    def bytes(self) -> int:
        return sum(path.stat().st_size for path in self.files.values())

    def told(self) -> dict[str, object]:
        """As data."""
        return self._asdict() | {"files": len(self.files), "bytes": self.bytes}

    def __str__(self) -> str:
        seen = "private" if self.private else "public"
        size = f"{len(self.files)} files, {self.bytes / 1e9:.2f} GB"
        return f"{', '.join(self.formats)} ({size}) to {self.repo}, {seen}, branch {self.branch}"


def pushes(hub: Hub, folders: Iterable[tuple[str, Path]]) -> list[Push]:
    """A push for each repository that formats go to, given each format with its folder."""
    grouped: dict[str, dict[str, Path]] = {}
    for name, folder in folders:
        grouped.setdefault(repository(hub.repo, name), {})[name] = folder
    return [
        Push(repo, hub.private, hub.branch, tuple(inside), dict(_paths(inside))) for repo, inside in grouped.items()
    ]


def repository(repo: str, name: str) -> str:
    """The repository of a format: one each, as tools expect to find them; the levels of GGUF share theirs."""
    if name == _ROOT:
        return repo
    suffix = _GGUF if name.startswith("gguf") else name.replace("_", "-").upper() if name != "adapter" else name
    return repo if repo.lower().endswith(f"-{suffix.lower()}") else f"{repo}-{suffix}"


def _paths(folders: dict[str, Path]) -> Iterator[tuple[str, Path]]:
    """Every file by its path: at the root, or where folders share it, in one of its own below the first one's card."""
    for place, (name, folder) in enumerate(folders.items()):
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            inside = path.relative_to(folder).as_posix()
            yield (inside if len(folders) == 1 else f"{name}/{inside}"), path
            if len(folders) > 1 and place == 0 and inside == "README.md":
                yield inside, path
