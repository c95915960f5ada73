"""Tensors of safetensors files, read where they lie and written in place: no shard is ever held in memory.

Reading maps the files; the pages belong to the page cache, and the system takes them back when it needs them. Writing
knows all sizes before the first tensor, so the files are laid out first and every slice goes straight to its offset,
in any order and from any thread.
"""

import json
import mmap
import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch

from pipelines.errors import wrong
from pipelines.hf.safetensors import INDEX, Located, TensorInfo, read_header, tensor_map

DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
"""Torch types by the names that safetensors gives them."""
_MODE = 0o644


class Weights:
    """The tensors of one or more safetensors files: `tensors` says where they are, `map` makes them readable."""

    def __init__(self, tensors: Mapping[str, Located]) -> None:
        self.tensors = dict(tensors)
        self._maps: dict[Path, torch.Tensor] = {}

    @property
    def files(self) -> list[Path]:
        """The files, sorted."""
        return sorted({place.file for place in self.tensors.values()})

    def info(self, name: str) -> TensorInfo:
        return self.tensors[name].info

    def map(self) -> Self:
        """Map the files, so that tensors can be read from any thread."""
        for path in self.files:
            with path.open("rb") as file, warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="The given buffer is not writable")
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                self._maps[path] = torch.frombuffer(mapped, dtype=torch.uint8)
        return self

    def tensor(self, name: str) -> torch.Tensor:
        """The stored tensor, flat, in its stored type, over read-only memory: to write to it kills the process.

        Only one that is not aligned in its file is copied.
        """
        place = self.tensors[name]
        stored = self._maps[place.file][place.info.start : place.info.end]
        dtype = DTYPES[place.info.dtype]
        return (stored if place.info.start % dtype.itemsize == 0 else stored.clone()).view(dtype)

    def raw(self, name: str) -> npt.NDArray[np.uint8]:
        """The stored bytes."""
        place = self.tensors[name]
        return self._maps[place.file][place.info.start : place.info.end].numpy()


def open_folder(folder: Path) -> Weights:
    """The weights of a model folder. Only the headers are read. UserError where they are broken or cut short."""
    return Weights(tensor_map(folder))


def open_file(path: Path) -> Weights:
    """The weights of a single file."""
    return Weights({name: Located(path, info) for name, info in read_header(path).items()})


class _File(NamedTuple):
    """A file to be written: its first bytes, its whole length, and the tensors in it."""

    head: bytes
    length: int
    tensors: Mapping[str, TensorInfo]


class ShardWriter:
    """Writes the files of `layout` again into `folder`: same names, same tensors in the same places, other values.

    `dtypes` names the tensors whose type changes, and to what ("BF16"). A file in which none does keeps its header to
    the byte. Used as a context manager: entering checks the disk space and lays the files out; `write` may be called
    from any thread.
    """

    def __init__(self, folder: Path, layout: Weights, dtypes: Mapping[str, str]) -> None:
        self._folder = folder
        self._files = {folder / path.name: _plan_file(path, layout, dtypes) for path in layout.files}
        self.tensors = {
            name: Located(path, info) for path, file in self._files.items() for name, info in file.tensors.items()
        }
        self._index = layout.files[0].with_name(INDEX)
        self._open: dict[Path, int] = {}

    @property
    def bytes(self) -> int:
        """How much will be written."""
        return sum(file.length for file in self._files.values())

    def __enter__(self) -> Self:
        require_space(self._folder, self.bytes)
        for path, file in self._files.items():
            self._open[path] = descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, _MODE)
            os.fchmod(descriptor, _MODE)
            os.ftruncate(descriptor, file.length)
            _write_all(descriptor, memoryview(file.head), 0)
        if self._index.is_file():
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

    def _write_index(self) -> None:
        index = json.loads(self._index.read_text(encoding="utf-8"))
        total = sum(place.info.end - place.info.start for place in self.tensors.values())
        index["metadata"] = dict(index.get("metadata") or {}) | {"total_size": total}
        (self._folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def require_space(folder: Path, needed: int) -> None:
    """UserError where the disk of `folder` has less than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        got = f"{free / 1e9:.2f} GB free, {needed / 1e9:.2f} GB needed"
        raise wrong(str(folder), "not enough disk space for the weights", got, "Free some and run again")


def _write_all(descriptor: int, data: memoryview, at: int) -> None:
    """pwrite until nothing is left: Linux takes at most 2 GiB a call."""
    while data.nbytes:
        done = os.pwrite(descriptor, data, at)
        data, at = data[done:], at + done


def _plan_file(path: Path, layout: Weights, dtypes: Mapping[str, str]) -> _File:
    inside = {name: place.info for name, place in layout.tensors.items() if place.file == path}
    with path.open("rb") as file:
        head = file.read(min(info.start for info in inside.values()))
    if any(dtypes.get(name, info.dtype) != info.dtype for name, info in inside.items()):
        head = _new_head(head, inside, dtypes)
    placed = _placed(inside, dtypes, len(head))
    return _File(head, max(info.end for info in placed.values()), placed)


def _placed(inside: Mapping[str, TensorInfo], dtypes: Mapping[str, str], at: int) -> dict[str, TensorInfo]:
    """Where the tensors come to lie, in the order that they have, when the data begin at byte `at`."""
    placed = {}
    for name, info in sorted(inside.items(), key=lambda item: (item[1].start, item[1].end)):
        dtype = dtypes.get(name, info.dtype)
        length = info.end - info.start if dtype == info.dtype else info.elements * DTYPES[dtype].itemsize
        placed[name] = TensorInfo(dtype, info.shape, at, at + length)
        at += length
    return placed


def _new_head(old: bytes, inside: Mapping[str, TensorInfo], dtypes: Mapping[str, str]) -> bytes:
    """The first bytes of a file whose types change; its metadata stay."""
    table: dict[str, Any] = {"__metadata__": json.loads(old[8:]).get("__metadata__", {"format": "pt"})}
    for name, info in _placed(inside, dtypes, 0).items():
        table[name] = {"dtype": info.dtype, "shape": info.shape, "data_offsets": [info.start, info.end]}
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
