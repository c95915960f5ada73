"""Rules about a GGUF file: whole, readable, and with what a server needs to chat.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (little endian; header, keys, tensors, data).
"""

import math
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

from pipelines.errors import few
from pipelines.serving.findings import Finding

_AGAIN = "Copy or convert the file again"
_NEEDED = ("general.architecture", "tokenizer.ggml.tokens", "tokenizer.ggml.eos_token_id")
# struct codes of the kinds of values; 8 is a text and 9 a list.
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _LIST = 8, 9
_MOST = 10_000_000


class Contents(NamedTuple):
    """The keys of a file, and the bytes it must have for its tensors."""

    keys: frozenset[str]
    tensors: int
    size: int


class _Broken(Exception):
    """The bytes are no GGUF."""


def rules(files: list[Path]) -> list[Finding]:
    """What is wrong with GGUF files that stand for one model."""
    return [finding for path in files for finding in _file(path)]


def _file(path: Path) -> Iterator[Finding]:
    try:
        held = _read(path)
    except (_Broken, struct.error, ValueError, KeyError, OverflowError) as error:
        yield Finding("gguf-broken", "E", str(path), "is no GGUF file or was cut short", str(error), _AGAIN)
        return
    if held.size > path.stat().st_size:
        got = f"{path.stat().st_size} bytes where its header says {held.size}"
        yield Finding("gguf-broken", "E", str(path), "is cut short", got, _AGAIN)
    first = "-of-" not in path.name or "-00001-of-" in path.name
    if first and (missing := [key for key in _NEEDED if key not in held.keys]):
        fix = "Convert it again with a converter that knows the tokenizer"
        yield Finding("gguf-keys", "E", str(path), "lacks keys that llama.cpp needs", few(missing), fix)
    if first and "tokenizer.chat_template" not in held.keys:
        what = "has no chat template: llama.cpp takes one of its own"
        yield Finding("gguf-template", "W", str(path), what, "", "Convert a folder that has a chat template")


def _read(path: Path) -> Contents:
    with path.open("rb") as file:
        magic, version, tensors, pairs = struct.unpack("<4sIQQ", file.read(24))
        if magic != b"GGUF" or version not in (2, 3) or max(tensors, pairs) > _MOST:
            raise _Broken(f"magic {magic!r}, version {version}")
        keys: dict[str, int | None] = {}
        for _ in range(pairs):
            key = _text(file)
            keys[key] = _value(file, _number(file, "I"))
        end = max((_tensor(file) for _ in range(tensors)), default=0)
        alignment = keys.get("general.alignment") or 32
        start = -(-file.tell() // alignment) * alignment
    return Contents(frozenset(keys), tensors, start + end)


def _tensor(file: BinaryIO) -> int:
    """Where a tensor ends, in bytes from the start of the data."""
    _text(file)
    shape = [_number(file, "Q") for _ in range(min(_number(file, "I"), 8))]
    block, size = GGML_QUANT_SIZES[GGMLQuantizationType(_number(file, "I"))]
    return _number(file, "Q") + math.prod(shape) // int(block) * int(size)


def _value(file: BinaryIO, kind: int) -> int | None:
    """A value that is a whole number; of others nothing but their length matters."""
    if kind == _TEXT:
        _text(file)
    elif kind == _LIST:
        inner, length = _number(file, "I"), _number(file, "Q")
        if inner in _NUMBERS:
            _skip(file, struct.calcsize(_NUMBERS[inner]) * length)
        elif inner != _TEXT or length > _MOST:
            raise _Broken(f"a list of {length} values of kind {inner}")
        for _ in range(length if inner == _TEXT else 0):
            _text(file)
    elif kind in _NUMBERS:
        number = _number(file, _NUMBERS[kind])
        return number if isinstance(number, int) else None
    else:
        raise _Broken(f"a value of kind {kind}")
    return None


def _skip(file: BinaryIO, length: int) -> None:
    if length > os.fstat(file.fileno()).st_size - file.tell():
        raise _Broken(f"a list of {length} bytes")
    file.seek(length, os.SEEK_CUR)


def _number(file: BinaryIO, code: str) -> int:
    number: int = struct.unpack(f"<{code}", file.read(struct.calcsize(f"<{code}")))[0]
    return number


def _text(file: BinaryIO) -> str:
    length = _number(file, "Q")
    raw = file.read(min(length, 1 << 26))
    if len(raw) != length:
        raise _Broken(f"a text of {length} bytes")
    return raw.decode("utf-8", errors="replace")
