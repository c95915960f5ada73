"""Finished artifacts on disk: found by key, checked on use, written so that a half-made one never looks complete."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipelines.engine.digest import file_digest
from pipelines.engine.lock import hold, holder
from pipelines.engine.stage import Artifact
from pipelines.errors import wrong

RECORD = "artifact.json"


@dataclass(frozen=True)
class Record:
    """What is known of an artifact: what it is, what it was made from, what is in it and what making it took."""

    name: str
    stage: str
    kind: str
    key: str
    identity: Mapping[str, Any]
    inputs: Mapping[str, str]
    metrics: Mapping[str, Any]
    files: Mapping[str, tuple[int, int, str]]
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """Size of its files."""
        return sum(size for size, _, _ in self.files.values())


class Store:
    """The folder under $BURNISH_HOME that holds artifacts by stage and key."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.artifacts = home / "artifacts"

    def folder(self, stage: str, key: str) -> Path:
        """Where the artifact is once it is complete."""
        return self.artifacts / f"{stage}-{key[:12]}"

    def partial(self, stage: str, key: str) -> Path:
        """Where it is while it is written."""
        return self.artifacts / f"{stage}-{key[:12]}.partial"

    def record(self, stage: str, key: str) -> Record | None:
        """The record of a finished artifact, unchecked."""
        path = self.folder(stage, key) / RECORD
        if not path.is_file():
            return None
        return Record(**json.loads(path.read_text(encoding="utf-8")))

    def find(self, stage: str, key: str, verify: bool = False) -> Record | None:
        """The record of a finished artifact whose files are what they were.

        Size and modification time are compared; content is read where they differ, or always with `verify`.
        A file that was changed or removed is the user's to decide on: UserError.
        """
        record = self.record(stage, key)
        if record is None:
            return None
        folder = self.folder(stage, key)
        if record.key != key:
            raise wrong(
                str(folder), "holds another artifact of the same short key", record.key[:16], "Remove the folder"
            )
        for name, (size, modified, digest) in record.files.items():
            _check_file(folder / name, size, modified, digest, verify)
        return record

    def artifact(self, record: Record, name: str) -> Artifact:
        """The artifact as stages see it."""
        return Artifact(name, record.kind, self.folder(record.stage, record.key), record.key, record.metrics)

    @contextmanager
    def locked(self, stage: str, key: str) -> Iterator[None]:
        """Hold the right to write one artifact. UserError when another process has it."""
        with hold(self._lock(stage, key)):
            yield

    def writer(self, stage: str, key: str) -> str:
        """The process that is writing the artifact; empty where none is."""
        return holder(self._lock(stage, key))

    def _lock(self, stage: str, key: str) -> Path:
        return self.home / "locks" / f"{stage}-{key[:12]}"

    def begin(self, stage: str, key: str, resumable: bool) -> Path:
        """The folder to write into: empty, or for a resumable stage as an earlier attempt left it."""
        partial = self.partial(stage, key)
        if partial.exists() and not resumable:
            shutil.rmtree(partial)
        partial.mkdir(parents=True, exist_ok=True)
        return partial

    def commit(self, record: Record) -> Record:
        """Give the files in the partial folder their checksums and the artifact its name, in one rename."""
        partial = self.partial(record.stage, record.key)
        (partial / RECORD).unlink(missing_ok=True)  # a folder that was copied from another artifact brings its own
        files = {}
        for path in sorted(path for path in partial.rglob("*") if path.is_file()):
            path.chmod(0o644)
            stat = path.stat()
            files[path.relative_to(partial).as_posix()] = (stat.st_size, stat.st_mtime_ns, file_digest(path))
        complete = Record(**(asdict(record) | {"files": files}))
        write_json(partial / RECORD, asdict(complete))
        partial.rename(self.folder(record.stage, record.key))
        return complete


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one, never half of it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(path)


def _check_file(path: Path, size: int, modified: int, digest: str, verify: bool) -> None:
    fix = f"Remove {path.parent} to have it made again"
    if not path.is_file():
        raise wrong(str(path), "a file of a finished artifact is missing", "", fix)
    stat = path.stat()
    same = (stat.st_size, stat.st_mtime_ns) == (size, modified)
    if stat.st_size != size or ((not same or verify) and file_digest(path) != digest):
        raise wrong(str(path), "was changed after it was made", f"{stat.st_size} bytes, recorded {size}", fix)
