"""Tensors of safetensors files, read where they lie: no shard is ever held in memory.

The files are mapped; the pages belong to the page cache, and the system takes them back when it needs them.
"""

import mmap
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch

from pipelines.errors import wrong
from pipelines.hf.safetensors import Located, TensorInfo, read_header, tensor_map

DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
"""Torch types by the names that safetensors gives them."""
_COMPARED = 1 << 20


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


def same_bytes(left: npt.NDArray[np.uint8], right: npt.NDArray[np.uint8]) -> bool:
    """Whether two tensors are stored alike, compared piece by piece: a comparison of all is as large as they are."""
    pieces = range(0, max(len(left), len(right)), _COMPARED)
    return all(np.array_equal(left[at : at + _COMPARED], right[at : at + _COMPARED]) for at in pieces)


def require_space(folder: Path, needed: int) -> None:
    """UserError where the disk of `folder` has less than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        got = f"{free / 1e9:.2f} GB free, {needed / 1e9:.2f} GB needed"
        raise wrong(str(folder), "not enough disk space for the weights", got, "Free some and run again")
