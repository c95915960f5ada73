"""The safetensors format as bytes on disk: headers, shards and their index, read without any tensor library.

Format: https://github.com/huggingface/safetensors#format (8 bytes of header length, a JSON header, the data).
"""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.errors import wrong

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
_MAX_HEADER = 100_000_000
_SAID = 200
_POINTER = b"version "
_AGAIN = "Download or save the file again"


class TensorInfo(NamedTuple):
    """A tensor in a file: its type as safetensors names it, and its bytes `start:end` counted from the file's start."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


class Located(NamedTuple):
    """The file that holds a tensor, and where in it."""

    file: Path
    info: TensorInfo


def read_header(path: Path) -> dict[str, TensorInfo]:
    """Every tensor of one file, in the order of its data.

    UserError where the file is truncated, too long, or its header does not add up.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(8)
        if first == _POINTER:
            raise wrong(str(path), "is a pointer of Git LFS in place of the file", "", "Fetch the file: git lfs pull")
        length = int.from_bytes(first, "little")
        if size < 8 or length > min(size - 8, _MAX_HEADER):
            raise wrong(str(path), "is truncated or no safetensors file", f"{size} bytes", _AGAIN)
        raw = file.read(length)
    try:
        header = json.loads(raw)
        tensors = {name: _info(entry, 8 + length) for name, entry in header.items() if name != "__metadata__"}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise wrong(str(path), "has a broken safetensors header", repr(error)[:_SAID], _AGAIN) from error
    _check_layout(path, tensors, 8 + length, size)
    return dict(sorted(tensors.items(), key=lambda item: (item[1].start, item[0])))


def _info(entry: dict[str, Any], data: int) -> TensorInfo:
    start, end = entry["data_offsets"]
    shape = tuple(entry["shape"])
    if any(type(number) is not int or number < 0 for number in (start, end, *shape)):
        raise ValueError("a size that is no whole number")
    info = TensorInfo(str(entry["dtype"]), shape, data + start, data + end)
    if info.elements * BITS[info.dtype] != (end - start) * 8:
        raise ValueError(f"{end - start} bytes for {info.dtype} {list(shape)}")
    return info


def _check_layout(path: Path, tensors: dict[str, TensorInfo], data: int, size: int) -> None:
    """The data must lie without gaps or overlaps, and end where the file ends."""
    at = data
    for name, info in sorted(tensors.items(), key=lambda item: item[1].start):
        if info.start != at:
            raise wrong(str(path), f"tensor {name} does not start where the one before it ends", "", _AGAIN)
        at = info.end
    if at > size:
        raise wrong(str(path), "is truncated", f"{size} bytes where its header says {at}", _AGAIN)
    if at < size:
        raise wrong(str(path), "is longer than its header says", f"{size} bytes, not {at}", _AGAIN)


def weight_files(folder: Path) -> list[Path]:
    """The weight files of a model folder, sorted: those that the index names, or the single `model.safetensors`.

    UserError where there are none, where the index names a file that is missing, or where a second set of weights lies
    beside it: engines differ in which of two sets they load.
    """
    present = {path.name for path in folder.glob("*.safetensors") if not path.name.startswith("adapter_")}
    if (folder / INDEX).is_file():
        wanted = set(read_index(folder).values())
    else:
        wanted = {SINGLE} if SINGLE in present or not present else present
        if wanted != {SINGLE} and len(present) > 1:
            raise wrong(str(folder), f"holds {len(present)} weight files but no {INDEX}", "", "Add the index")
    if missing := sorted(wanted - present):
        what = (
            "its index names weights that are missing" if (folder / INDEX).is_file() else "holds no safetensors weights"
        )
        raise wrong(str(folder), what, ", ".join(missing), _no_weights(folder))
    if stale := sorted(present - wanted - {"consolidated.safetensors"}):
        raise wrong(
            str(folder), "holds a second set of weights", ", ".join(stale), "Remove the files that do not belong"
        )
    return [folder / name for name in sorted(wanted)]


def _no_weights(folder: Path) -> str:
    if any(folder.glob("*.bin")) or any(folder.glob("*.pt")) or any(folder.glob("*.pth")):
        return "Pickled weights are not read: save the model again with save_pretrained, which writes safetensors"
    return "Name the folder that save_pretrained wrote"


def read_index(folder: Path) -> dict[str, str]:
    """Which file holds which tensor, as the index says. UserError where it cannot be read."""
    path = folder / INDEX
    try:
        weight_map = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        if not all(Path(name).name == name for name in weight_map.values()):
            raise ValueError("a file name with a folder in it")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise wrong(str(path), "is no index of safetensors shards", repr(error), _AGAIN) from error
    return dict(weight_map)


def tensor_map(folder: Path) -> dict[str, Located]:
    """Where every tensor of a model folder is. UserError where index and files disagree."""
    located: dict[str, Located] = {}
    for file in weight_files(folder):
        for name, info in read_header(file).items():
            if name in located:
                raise wrong(str(folder), f"two files hold {name}", f"{located[name].file.name} and {file.name}", _AGAIN)
            located[name] = Located(file, info)
    if (folder / INDEX).is_file():
        indexed = read_index(folder)
        if odd := sorted(
            n for n in indexed.keys() | located.keys() if n not in located or indexed.get(n) != located[n].file.name
        ):
            raise wrong(
                str(folder), f"{INDEX} and the files disagree on {len(odd)} tensors", odd[0], "Write the index again"
            )
    return located
