"""Content of files and folders as sha256, read again only when size or modification time changed."""

import hashlib
import json
import os
from pathlib import Path

_CHUNK = 1 << 22


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes, as hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def files_of(path: Path) -> list[Path]:
    """The file itself, or every file below a folder, hidden ones left out, sorted by their relative path."""
    if path.is_file():
        return [path]
    below = (item for item in path.rglob("*") if item.is_file())
    return sorted(item for item in below if not any(part.startswith(".") for part in item.relative_to(path).parts))


class Digests:
    """A cache of file digests in one JSON file.

    Size, modification time in nanoseconds and inode together stand for the content; `verify` reads it all the same.
    """

    def __init__(self, cache: Path, verify: bool = False) -> None:
        self._cache = cache
        self._verify = verify
        self._known: dict[str, list[object]] = _load(cache)
        self._changed = False

    def of_file(self, path: Path) -> str:
        """sha256 of one file."""
        stat = path.stat()
        stamp = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
        known = self._known.get(str(path))
        if known and known[:3] == stamp and not self._verify:
            return str(known[3])
        digest = file_digest(path)
        self._known[str(path)] = [*stamp, digest]
        self._changed = True
        return digest

    def of(self, path: Path) -> str:
        """sha256 of a file, or of the names and digests of everything in a folder."""
        if path.is_file():
            return self.of_file(path)
        listing = [[item.relative_to(path).as_posix(), self.of_file(item)] for item in files_of(path)]
        return hashlib.sha256(json.dumps(listing).encode()).hexdigest()

    def save(self) -> None:
        """Keep what was learned for the next process."""
        if not self._changed:
            return
        self._cache.parent.mkdir(parents=True, exist_ok=True)
        partial = self._cache.with_name(f"{self._cache.name}.{os.getpid()}")
        partial.write_text(json.dumps(self._known), encoding="utf-8")
        partial.replace(self._cache)
        self._changed = False


def _load(cache: Path) -> dict[str, list[object]]:
    """An unreadable cache is an empty one: everything in it can be read again."""
    try:
        known = json.loads(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
