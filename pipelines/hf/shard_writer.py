"""Safetensors files written in place: all sizes are known before the first tensor, so the files are laid out first and
every slice goes straight to its offset, in any order and from any thread."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import torch

from pipelines.hf.safetensors import INDEX, SINGLE, Located, TensorInfo
from pipelines.hf.shards import DTYPES, Weights, require_space

_MODE = 0o644


class _File(NamedTuple):
    """A file to be written: its first bytes, its whole length, and the tensors in it."""

    head: bytes
    length: int
    tensors: Mapping[str, TensorInfo]


class ShardWriter:
    """Writes the tensors of `layout` into `folder`, with other values.

    Files, names and places are those of `layout`; with `shard_bytes` the tensors, in the order that they have, are
    spread anew over files of at most that size. `dtypes` names the tensors whose type changes, and to what ("BF16"). A
    file that stays as it was keeps its header to the byte.

    Used as a context manager: entering checks the disk space and lays the files out; those that an earlier attempt has
    laid out alike are kept with all that is in them. `write` may be called from any thread.
    """

    def __init__(
        self, folder: Path, layout: Weights, dtypes: Mapping[str, str], shard_bytes: int | None = None
    ) -> None:
        self._folder = folder
        self._files = _resharded(layout, dtypes, shard_bytes) if shard_bytes else _as_it_was(layout, dtypes)
        self.tensors = {
            name: Located(folder / file, info)
            for file, planned in self._files.items()
            for name, info in planned.tensors.items()
        }
        index = layout.files[0].with_name(INDEX)
        self._metadata = _metadata(index) if index.is_file() else {}
        self._indexed = len(self._files) > 1 or (index.is_file() and not shard_bytes)
        self._open: dict[Path, int] = {}

    @property
    def bytes(self) -> int:
        """How much will be written."""
        return sum(file.length for file in self._files.values())

    @property
    def laid_out(self) -> bool:
        """Whether an earlier attempt has laid all the files out alike, so that what it wrote into them is there."""
        return all(_is_laid_out(self._folder / name, file) for name, file in self._files.items())

    def __enter__(self) -> Self:
        kept = {name for name, file in self._files.items() if _is_laid_out(self._folder / name, file)}
        require_space(self._folder, sum(file.length for name, file in self._files.items() if name not in kept))
        for name, file in self._files.items():
            path = self._folder / name
            self._open[path] = descriptor = os.open(path, os.O_RDWR | os.O_CREAT, _MODE)
            if name not in kept:
                os.fchmod(descriptor, _MODE)
                os.ftruncate(descriptor, 0)
                os.ftruncate(descriptor, file.length)
                _write_all(descriptor, memoryview(file.head), 0)
        if self._indexed:
            self._write_index()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    def write(self, name: str, values: torch.Tensor, start: int = 0) -> None:
        """Put a flat, contiguous slice, already of the type to be stored, at element `start` of a tensor."""
        place = self.tensors[name]
        data = values.view(torch.uint8).numpy().data
        _write_all(self._open[place.file], data, place.info.start + start * values.itemsize)

    def sync(self) -> None:
        """Wait until all that was written is on the disk."""
        for descriptor in self._open.values():
            os.fdatasync(descriptor)

    def _write_index(self) -> None:
        total = sum(place.info.end - place.info.start for place in self.tensors.values())
        files = {name: self.tensors[name].file.name for name in sorted(self.tensors)}
        index = {"metadata": self._metadata | {"total_size": total}, "weight_map": files}
        (self._folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _metadata(index: Path) -> dict[str, Any]:
    return dict(json.loads(index.read_text(encoding="utf-8")).get("metadata") or {})


def _is_laid_out(path: Path, planned: _File) -> bool:
    """Whether a file is there that has the planned length and header."""
    if not path.is_file() or path.stat().st_size != planned.length:
        return False
    with path.open("rb") as file:
        return file.read(len(planned.head)) == planned.head


def _write_all(descriptor: int, data: memoryview, at: int) -> None:
    """pwrite until nothing is left: Linux takes at most 2 GiB a call."""
    while data.nbytes:
        done = os.pwrite(descriptor, data, at)
        data, at = data[done:], at + done


def _as_it_was(layout: Weights, dtypes: Mapping[str, str]) -> dict[str, _File]:
    """The files of a layout by their names."""
    inside: dict[Path, dict[str, TensorInfo]] = {path: {} for path in layout.files}
    for name, place in layout.tensors.items():
        inside[place.file][name] = place.info
    return {path.name: _planned(path, tensors, dtypes) for path, tensors in inside.items()}


def _planned(path: Path, inside: Mapping[str, TensorInfo], dtypes: Mapping[str, str]) -> _File:
    with path.open("rb") as file:
        head = file.read(min(info.start for info in inside.values()))
    if any(dtypes.get(name, info.dtype) != info.dtype for name, info in inside.items()):
        metadata = json.loads(head[8:]).get("__metadata__", {"format": "pt"})
        return _file(_in_order(inside), dtypes, metadata)
    placed = _placed(_in_order(inside), dtypes, len(head))
    return _File(head, max(info.end for info in placed.values()), placed)


def _resharded(layout: Weights, dtypes: Mapping[str, str], shard_bytes: int) -> dict[str, _File]:
    """The tensors in new files, each as full as `shard_bytes` allows; one that is larger has a file to itself."""
    shards: list[dict[str, TensorInfo]] = []
    room = 0
    for path in layout.files:
        here = {name: place.info for name, place in layout.tensors.items() if place.file == path}
        for name, info in _in_order(here).items():
            length = _length(info, dtypes.get(name, info.dtype))
            if not shards or length > room:
                shards.append({})
                room = shard_bytes
            shards[-1][name] = info
            room -= length
    count = len(shards)
    names = [SINGLE] if count == 1 else [f"model-{at:05}-of-{count:05}.safetensors" for at in range(1, count + 1)]
    return {name: _file(inside, dtypes, {"format": "pt"}) for name, inside in zip(names, shards, strict=True)}


def _in_order(inside: Mapping[str, TensorInfo]) -> dict[str, TensorInfo]:
    return dict(sorted(inside.items(), key=lambda item: (item[1].start, item[1].end)))


def _file(inside: Mapping[str, TensorInfo], dtypes: Mapping[str, str], metadata: Mapping[str, str]) -> _File:
    """A file with a new header."""
    table: dict[str, Any] = {"__metadata__": metadata}
    for name, info in _placed(inside, dtypes, 0).items():
        table[name] = {"dtype": info.dtype, "shape": info.shape, "data_offsets": [info.start, info.end]}
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    head = len(text).to_bytes(8, "little") + text
    placed = _placed(inside, dtypes, len(head))
    return _File(head, max(info.end for info in placed.values()), placed)


def _placed(inside: Mapping[str, TensorInfo], dtypes: Mapping[str, str], at: int) -> dict[str, TensorInfo]:
    """Where the tensors come to lie, in the order that they have, when the data begin at byte `at`."""
    placed = {}
    for name, info in inside.items():
        dtype = dtypes.get(name, info.dtype)
        length = _length(info, dtype)
        placed[name] = TensorInfo(dtype, info.shape, at, at + length)
        at += length
    return placed


def _length(info: TensorInfo, dtype: str) -> int:
    return info.end - info.start if dtype == info.dtype else info.elements * DTYPES[dtype].itemsize
