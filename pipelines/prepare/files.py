"""Reading JSONL, JSON and CSV row by row, broken rows included, so that all of them can be told at once."""

import csv
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

Columns = dict[str, Any]
PARQUET = ".parquet"


class Found(NamedTuple):
    """A row and the line it begins at (in a JSON list its position), or what is wrong there."""

    line: int
    row: Columns | None
    what: str = ""
    got: str = ""


def readable(path: Path) -> bool:
    """Whether `read_file` knows the file's ending."""
    return path.suffix in _READERS


def read_file(path: Path) -> Iterator[Found]:
    """Every row of a file by its ending: .jsonl, .json or .csv. Memory holds one row, but a whole .json file."""
    return _READERS[path.suffix](path)


def shown(path: Path) -> str:
    """A path for messages: relative where it lies below the working directory."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _lines(path: Path) -> Iterator[tuple[int, str, str]]:
    """(number, text, what is wrong) of each line; a byte order mark is no part of the first."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8"), ""
            except UnicodeDecodeError as error:
                yield number, "", f"is not UTF-8 at byte {error.start} of the line"


def _jsonl(path: Path) -> Iterator[Found]:
    for number, line, what in _lines(path):
        if what:
            yield Found(number, None, what)
        elif line.strip():
            yield _json_row(number, line)


def _json_row(number: int, line: str) -> Found:
    try:
        return _object(number, json.loads(line.rstrip()))
    except json.JSONDecodeError as error:
        return Found(number, None, f"is not JSON: {error.msg} at character {error.pos + 1}", _short(line))
    except RecursionError as error:
        return Found(number, None, f"is not JSON: {error}", _short(line))


def _json(path: Path) -> Iterator[Found]:
    broken = [Found(number, None, what) for number, _, what in _lines(path) if what]
    if broken:
        yield from broken
        return
    text = path.read_text(encoding="utf-8-sig")
    if not text.strip():
        return
    try:
        rows = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        yield Found(getattr(error, "lineno", 1), None, f"is not JSON: {error}")
        return
    if not isinstance(rows, list):
        yield Found(1, None, "is not a JSON list of objects", type(rows).__name__)
        return
    yield from (_object(position, row) for position, row in enumerate(rows, 1))


def _object(line: int, value: object) -> Found:
    if isinstance(value, dict):
        return Found(line, value)
    return Found(line, None, "is not a JSON object", _short(json.dumps(value)))


def _csv(path: Path) -> Iterator[Found]:
    """Rows of a table with a header; a row of another width is broken, and so is the rest after bad quoting."""
    broken: list[Found] = []

    def texts() -> Iterator[str]:
        for number, line, what in _lines(path):
            if what:
                broken.append(Found(number, None, what))
            yield line

    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(texts(), strict=True)
    header = next(reader, [])
    twice = sorted({name for name in header if header.count(name) > 1})
    if broken or twice:
        yield from broken or [Found(1, None, "names columns twice", ", ".join(twice))]
        return
    begins = reader.line_num + 1
    try:
        for values in reader:
            if values and len(values) != len(header) and not broken:
                yield Found(
                    begins, None, f"has {len(values)} fields, the header has {len(header)}", _short(str(values))
                )
            elif values and not broken:
                yield Found(begins, dict(zip(header, values, strict=True)))
            yield from broken
            broken.clear()
            begins = reader.line_num + 1
    except csv.Error as error:
        yield Found(begins, None, f"is not CSV: {error}")


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 60 else text[:57] + "..."


_READERS: dict[str, Callable[[Path], Iterator[Found]]] = {".jsonl": _jsonl, ".json": _json, ".csv": _csv}
