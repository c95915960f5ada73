"""What of a merge is on the disk for good, so that a killed one goes on from there."""

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

JOURNAL = "merge.journal"
EVERY = 1 << 30
"""Bytes written between two entries: what a killed merge does again at most."""


class Journal:
    """Names of the tensors that are written for good, a line each, in the folder that is being filled."""

    def __init__(self, folder: Path, sync: Callable[[], None], every: int = EVERY) -> None:
        self._path = folder / JOURNAL
        self._sync = sync
        self._every = every
        self._waiting: list[str] = []
        self._bytes = 0
        self.finished = frozenset(read(self._path)) if self._path.is_file() else frozenset[str]()

    def add(self, name: str, size: int) -> None:
        """Note a tensor of `size` bytes, once it is written; now and then all noted ones are made safe."""
        self._waiting.append(name)
        self._bytes += size
        if self._bytes >= self._every:
            self._sync()
            append(self._path, self._waiting)
            self._waiting, self._bytes = [], 0

    def forget(self) -> None:
        """The files that it tells of are not what they were: nothing is finished."""
        self._path.unlink(missing_ok=True)
        self.finished = frozenset()

    def close(self) -> None:
        """Everything is written: the journal goes."""
        self._path.unlink(missing_ok=True)


def read(path: Path) -> list[str]:
    """The names; a last line that was cut short does not count, and neither does what is no text."""
    return path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]


def append(path: Path, names: Iterable[str]) -> None:
    """Add lines and wait until they are on the disk."""
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(f"{name}\n" for name in names))
        file.flush()
        os.fsync(file.fileno())


def prepare(folder: Path) -> None:
    """Remove what a merge cannot go on with: all but journal and weight files, and without a journal these too."""
    going_on = (folder / JOURNAL).is_file()
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif not (going_on and (path.name == JOURNAL or path.suffix == ".safetensors")):
            path.unlink()
