"""A buffer sampled from the training rows of a prepared dataset, with a quota for each domain."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from pipelines.hf.dataset import read_documents
from pipelines.hf.rows import Row, read_rows
from pipelines.replay.select import sampled


class Chosen(NamedTuple):
    """A sampled row and its document; `line` counts the rows of the dataset's training split from 1."""

    line: int
    row: Row
    document: dict[str, Any]


def choose(dataset: Path, size: int, balance: float, seed: int) -> Iterator[Chosen]:
    """Sampled rows in the order of the dataset. Only ids and domains are held in memory, not the rows."""
    rows = dataset / "rows/train.parquet"
    table = pq.read_table(rows, columns=["id", "source"])
    keys = list(zip(table["id"].to_pylist(), table["source"].to_pylist(), strict=True))
    positions = frozenset(sampled(keys, size, balance, seed))
    both = zip(read_rows(rows), read_documents(dataset / "rows/train.jsonl"), strict=True)
    return (Chosen(at + 1, row, document) for at, (row, document) in enumerate(both) if at in positions)
