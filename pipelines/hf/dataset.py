"""The folder of a dataset artifact: rows and documents split by split, what was dropped, and the card."""

import hashlib
import json
import math
import unicodedata
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Self

from pipelines.hf.markers import Messages
from pipelines.hf.rows import Row, RowFile

SPLITS = ("train", "dev", "test")


def read_documents(path: Path) -> Iterator[dict[str, Any]]:
    """The documents beside the rows, in the same order."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def normalised(text: str) -> str:
    """Text by which rows count as equal: NFKC, case folded, white space collapsed."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def digest(text: str) -> str:
    """16 hexadecimal digits of the text's sha256."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def share(text: str) -> float:
    """A number in [0, 1) that is the text's own: equal texts fall on the same side of any border."""
    return int(digest(text), 16) / 2**64


def row_id(messages: Messages | None, text: str | None = None) -> str:
    """The identity of a row: a digest of its content."""
    return digest(text or "" if messages is None else json.dumps([dict(message) for message in messages]))


def document(id: str, messages: Messages | None, text: str | None, further: Mapping[str, Any]) -> dict[str, Any]:
    """What evaluation reads of a row. Further columns never hide the document's own fields."""
    own: dict[str, Any] = {"id": id}
    if messages is None:
        own["text"] = text
    else:
        last = {message["role"]: message["content"] for message in messages}
        own |= {"messages": messages, "prompt": last.get("user", ""), "completion": last["assistant"]}
    taken = {"id", "messages", "prompt", "completion", "text"}
    return own | {name: value for name, value in further.items() if name not in taken}


class DatasetWriter:
    """Fills the folder of a dataset artifact row by row, and counts.

    Rows of one content may stand in it twice; the later ones get a number after their id.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.dropped: Counter[str] = Counter()
        self._lengths = {split: array("L") for split in SPLITS}
        self._loss_tokens: Counter[str] = Counter()
        self._ids: Counter[str] = Counter()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        (self.folder / "rows").mkdir(parents=True, exist_ok=True)
        self._drops = self._text("dropped.jsonl")
        self._rows = {"train": self._open("train")}
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def kept(self) -> int:
        """Rows written so far."""
        return sum(map(len, self._lengths.values()))

    @property
    def seen(self) -> int:
        """Rows written and dropped so far."""
        return self.kept + self.dropped.total()

    def add(self, split: str, row: Row, further: Mapping[str, Any], text: str | None = None) -> None:
        """Write one row and its document; `text` is the document of a plain-text row."""
        seen = self._ids[row.id]
        self._ids[row.id] += 1
        if seen:
            row = row._replace(id=f"{row.id}-{seen + 1}")
        if split not in self._rows:
            self._rows[split] = self._open(split)
        rows, documents = self._rows[split]
        rows.add(row)
        documents.write(_line(document(row.id, row.messages, text, further)))
        self._lengths[split].append(len(row.input_ids))
        self._loss_tokens[split] += row.loss_tokens

    def drop(self, source: str, line: int | None, reason: str, detail: str = "") -> None:
        """Say that a row is not in the dataset, and why."""
        self.dropped[reason] += 1
        self._drops.write(_line({"source": source, "line": line, "reason": reason, "detail": detail}))

    def finish(self, mask: str, truncated: int, files: Sequence[Mapping[str, Any]], **further: Any) -> dict[str, Any]:
        """Write card.json and return it."""
        counts = {"in": self.seen, "kept": self.kept, "dropped": dict(sorted(self.dropped.items()))}
        card = {
            "rows": counts,
            "splits": {split: self._statistics(split) for split in SPLITS if split in self._rows},
            "mask": mask,
            "truncated": truncated,
            "files": [dict(file) for file in files],
            **further,
        }
        (self.folder / "card.json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return card

    def _statistics(self, split: str) -> dict[str, int]:
        lengths = sorted(self._lengths[split])
        return {
            "rows": len(lengths),
            "tokens": sum(lengths),
            "loss_tokens": self._loss_tokens[split],
            "p50": _rank(lengths, 0.5),
            "p95": _rank(lengths, 0.95),
            "max": _rank(lengths, 1.0),
        }

    def _open(self, split: str) -> tuple[RowFile, IO[str]]:
        rows = self._stack.enter_context(RowFile(self.folder / f"rows/{split}.parquet"))
        return rows, self._text(f"rows/{split}.jsonl")

    def _text(self, name: str) -> IO[str]:
        return self._stack.enter_context(
            (self.folder / name).open("w", encoding="utf-8", newline="\n", errors="backslashreplace")
        )


def _rank(ordered: Sequence[int], q: float) -> int:
    """The nearest-rank quantile."""
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)] if ordered else 0


def _line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str) + "\n"
