"""Checkpoints to go on from, whole or not there: a marker is written last, a folder without one is never used."""

import shutil
from pathlib import Path

from pipelines.hf.folder import CHECKPOINTS

FOLDER = CHECKPOINTS
_DONE = "DONE"


def complete(checkpoint: Path) -> None:
    """Mark a checkpoint as whole and remove the ones before it."""
    (checkpoint / _DONE).touch()
    for other in _all(checkpoint.parent):
        if other != checkpoint:
            _remove(other)


def newest(folder: Path) -> Path | None:
    """The last whole checkpoint in a folder."""
    whole = [checkpoint for checkpoint in _all(folder) if (checkpoint / _DONE).exists()]
    return max(whole, key=_step, default=None)


def discard_partial(folder: Path) -> None:
    """Remove what a killed attempt left half-written."""
    for checkpoint in _all(folder):
        if not (checkpoint / _DONE).exists():
            _remove(checkpoint)


def discard(folder: Path) -> None:
    """Remove all checkpoints, where there are any: what they led to is saved. Weights that are kept stay."""
    for checkpoint in _all(folder):
        _remove(checkpoint)
    if folder.exists() and not any(folder.iterdir()):
        folder.rmdir()


def _all(folder: Path) -> list[Path]:
    return list(folder.glob("checkpoint-*"))


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _remove(checkpoint: Path) -> None:
    """The marker goes first, so that a removal cut short leaves no folder that looks whole."""
    (checkpoint / _DONE).unlink(missing_ok=True)
    shutil.rmtree(checkpoint)
