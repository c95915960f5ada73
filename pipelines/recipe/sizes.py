"""How many documents a measurement of a suite has, as far as that is known before it runs."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pipelines.engine.plan import Step
from pipelines.engine.stage import DatasetRef
from pipelines.evaluate.config import Documents, Drift, Suite, Text

_LARGEST = 64 << 20
"""A plan reads no larger file, in bytes, for the sake of a number."""


class Size(NamedTuple):
    """A number of documents, None where it is not known, and where it is from."""

    n: int | None
    source: str


UNKNOWN = Size(None, "not known before the first run")


def size(suite: Suite, measurement: str, steps: Mapping[str, Step]) -> Size:
    """The documents of a measurement, by its limit and what it is made from."""
    one = suite.tasks.get(measurement) or suite.texts.get(measurement) or suite.drift[measurement]
    if isinstance(one, Text):
        there = _of_text(one)
    elif isinstance(one, Drift):
        there = _of_dataset(one.dataset, one.split, steps)
    else:
        there = _of_task(one.documents, steps)
    if one.limit is None or (there.n is not None and there.n <= one.limit):
        return there
    return Size(one.limit, "limit" if there.n is not None else "limit, where there are as many")


def _of_task(documents: Documents | None, steps: Mapping[str, Step]) -> Size:
    if documents is None:
        return UNKNOWN
    if documents.dataset is not None:
        return _of_dataset(documents.dataset, documents.split, steps)
    return _of_file(Path(str(documents.file)))


def _of_text(text: Text) -> Size:
    if text.files is None or text.split is not None:
        return UNKNOWN
    found = [_of_file(Path(name)) for name in ([text.files] if isinstance(text.files, str) else text.files)]
    known = [one.n for one in found if one.n is not None]
    return Size(sum(known), found[0].source) if len(known) == len(found) else UNKNOWN


def _of_dataset(dataset: DatasetRef, split: str, steps: Mapping[str, Step]) -> Size:
    record = steps[str(dataset)].record
    made = record.metrics.get("splits", {}).get(split) if record else None
    return Size(int(made["rows"]), f"split {split} of {dataset}") if made else UNKNOWN


def _of_file(path: Path) -> Size:
    if path.stat().st_size > _LARGEST or path.suffix in (".json", ".parquet"):
        return UNKNOWN
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            return Size(max(0, sum(1 for row in csv.reader(file) if row) - 1), path.name)
    parts = path.read_bytes().split(b"\n" if path.suffix == ".jsonl" else b"\n\n")
    return Size(sum(1 for part in parts if part.strip()), path.name)
