"""Calibration rows: the text that a quantisation is fitted to, drawn from the rows that the model was trained on."""

import random
from pathlib import Path

import pyarrow.parquet as pq

from pipelines.errors import wrong
from pipelines.serving.findings import Finding

FEW = 64
"""Below this many rows the choice of rows shows in the result."""
_WHERE = "calibration"


def draw(dataset: Path, rows: int, max_length: int, seed: int, vocabulary: int) -> list[list[int]]:
    """Token ids of `rows` rows of the training split in the order drawn, each cut to `max_length`.

    All of them where there are fewer. UserError where there is none, or where a token is outside the model's
    vocabulary.
    """
    table = pq.read_table(dataset / "rows" / "train.parquet", columns=["input_ids"])
    picked = random.Random(seed).sample(range(table.num_rows), min(rows, table.num_rows))
    ids = [table["input_ids"][at].as_py()[:max_length] for at in picked]
    ids = [row for row in ids if row]
    if not ids:
        raise wrong(_WHERE, "the dataset has no rows to look at", dataset.name, "Name another dataset: calibration.on")
    if (largest := max(map(max, ids))) >= vocabulary:
        fix = "Name a dataset that was prepared with this model's tokenizer"
        raise wrong(_WHERE, f"a row has a token outside the vocabulary of {vocabulary}", str(largest), fix)
    return ids


def remarks(rows: list[list[int]], wanted: int, columns: int) -> list[Finding]:
    """What is to be told of the rows looked at, if any; `columns` is the longest row of a quantised weight.

    GPTQ inverts a matrix of inputs, [columns, columns], that has full rank only with as many tokens; what is missing
    is left to its damping (Frantar et al. 2022, arXiv 2210.17323, section 3.3).
    """
    if not rows:
        return []
    found, tokens = [], sum(map(len, rows))
    if len(rows) < FEW:
        got = f"{len(rows)} rows, {wanted} asked for"
        fix = "Name a larger dataset, or more rows"
        found.append(Finding("calibration-rows", "W", _WHERE, "was fitted to few rows", got, fix))
    if tokens < columns:
        got = f"{tokens} tokens for weights of {columns} columns"
        fix = "Name more or longer rows"
        found.append(Finding("calibration-tokens", "W", _WHERE, "was fitted to few tokens", got, fix))
    return found
