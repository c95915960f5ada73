"""A row as the trainer sees it: which stretches of its text are trained."""

from itertools import groupby
from typing import Any

from pipelines.hf.chat import IGNORED
from pipelines.hf.rows import Row


def spans(row: Row, tokenizer: Any) -> list[tuple[str, bool]]:
    """The row's text in stretches, each with whether loss is taken on its tokens."""
    pairs = zip(row.input_ids, row.labels, strict=True)
    stretches = groupby(pairs, key=lambda pair: pair[1] != IGNORED)
    return [(tokenizer.decode([token for token, _ in tokens]), trained) for trained, tokens in stretches]
