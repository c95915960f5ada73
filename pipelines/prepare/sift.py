"""From found rows to the rows that stay: meaning, exact duplicates, splits and the sample of the training rows."""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from pipelines.errors import Problem
from pipelines.hf.dataset import digest, normalised, row_id, share
from pipelines.prepare.check import row_problem
from pipelines.prepare.config import PrepareConfig, Split
from pipelines.prepare.formats import BrokenRow, Example, Meaning, Turns, example, named_split
from pipelines.prepare.sources import Origin

Drop = Callable[[str, int, str, str], None]
"""`drop(source, line, reason, detail)`: told of every row that does not stay."""


class Placed(NamedTuple):
    """An example with its split, where it stands and the columns it came from."""

    id: str
    split: str
    domain: str
    origin: str
    where: str
    line: int
    messages: Turns | None
    text: str | None
    columns: Mapping[str, Any]


def placed(
    origins: Iterable[Origin], meaning: Meaning, config: PrepareConfig, drop: Drop, problems: list[Problem]
) -> Iterator[Placed]:
    """The rows that stay, in their order. Broken rows go to `problems`, repeated ones to `drop`."""
    seen: set[str] = set()
    for origin in origins:
        for found in origin.rows():
            where = f"{origin.where}:{found.line}"
            try:
                if found.row is None:
                    raise BrokenRow(found.what, found.got)
                read = example(found.row, meaning)
                split = named_split(found.row, config.split.column) or split_of(read, config.split)
            except BrokenRow as broken:
                problems.append(row_problem(where, broken))
                continue
            text = digest(_normalised(read))
            if config.dedup.exact and text in seen:
                drop(origin.name, found.line, "duplicate", "the same text as an earlier row")
                continue
            seen.add(text)
            id = row_id(read.messages, read.text)
            domain = read.source or origin.domain
            yield Placed(id, split, domain, origin.name, where, found.line, read.messages, read.text, found.row)


def split_of(example: Example, split: Split) -> str:
    """The split by the normalised opening of the row: rows that ask the same stay together, old rows never move."""
    at = share(normalised(_opening(example)))
    if at < split.test:
        return "test"
    return "dev" if at < split.test + split.dev else "train"


def sampled(rows: Iterable[Placed], limit: int, seed: int) -> frozenset[str]:
    """The ids of a seeded sample of the training rows: those whose own hashes are the smallest."""
    scored = ((share(f"{seed} {row.id}"), row.id) for row in rows if row.split == "train")
    return frozenset(id for _, id in heapq.nsmallest(limit, scored))


def _opening(example: Example) -> str:
    if example.messages is None:
        return example.text or ""
    return next(turn["content"] for turn in example.messages if turn["role"] == "user")


def _normalised(example: Example) -> str:
    """The whole conversation as it is compared; roles count."""
    if example.messages is None:
        return normalised(example.text or "")
    return "\n".join(f"{turn['role']} {normalised(turn['content'])}" for turn in example.messages)
