"""Tokenised rows on disk: the parquet layout that prepare and replay write and train and evaluate read."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.hf.chat import IGNORED

ROW_GROUP = 1000
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("messages", pa.string()),
        pa.field("input_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("labels", pa.list_(pa.int32()), nullable=False),
    ]
)


class Row(NamedTuple):
    """One training example. `messages` is None for plain text; `labels`, not shifted, are -100 where no loss is."""

    id: str
    source: str
    messages: list[dict[str, str]] | None
    input_ids: list[int]
    labels: list[int]

    @property
    def loss_tokens(self) -> int:
        """Tokens that loss is taken on. Nothing comes before the first token, so it is never one of them."""
        return sum(label != IGNORED for label in self.labels[1:])


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of one parquet file in their order, a row group in memory at a time."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(ROW_GROUP):
            for row in batch.to_pylist():
                messages = None if row["messages"] is None else json.loads(row["messages"])
                yield Row(row["id"], row["source"], messages, row["input_ids"], row["labels"])


def write_rows(path: Path, rows: Iterable[Row]) -> int:
    """Write rows as they come, a row group in memory at a time; how many there were."""
    with RowFile(path) as file:
        for row in rows:
            file.add(row)
    return file.count


class RowFile:
    """A parquet file that is written one full row group at a time."""

    def __init__(self, path: Path) -> None:
        self.count = 0
        self._file = pq.ParquetWriter(path, SCHEMA, compression="zstd")
        self._waiting: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._flush()
        self._file.close()

    def add(self, row: Row) -> None:
        messages = None if row.messages is None else json.dumps(row.messages, ensure_ascii=False)
        self._waiting.append(row._asdict() | {"messages": messages})
        self.count += 1
        if len(self._waiting) == ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._file.write_table(pa.Table.from_pylist(self._waiting, SCHEMA))
            self._waiting.clear()
