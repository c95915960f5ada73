"""Tokenised datasets for the tests of training."""

import json
import random
from pathlib import Path

from pipelines.engine.stage import Artifact
from pipelines.hf.rows import Row, write_rows


def row(number: int, length: int, loss: int, vocabulary: int = 380) -> Row:
    """A row of random ids whose last `loss` tokens carry loss."""
    pick = random.Random(number)
    ids = [pick.randrange(5, vocabulary) for _ in range(length)]
    return Row(f"r{number}", "test", None, ids, [-100] * (length - loss) + ids[length - loss :])


def dataset(folder: Path, rows: list[Row], name: str = "data") -> Artifact:
    """A dataset artifact with the given training rows."""
    (folder / "rows").mkdir(parents=True)
    write_rows(folder / "rows" / "train.parquet", rows)
    (folder / "card.json").write_text(json.dumps({}))
    return Artifact(name, "dataset", folder, "0" * 64)


def varied(count: int, seed: int = 0) -> list[Row]:
    """Rows of different lengths and shares of loss."""
    pick = random.Random(seed)
    made = []
    for number in range(count):
        length = pick.randint(6, 24)
        made.append(row(seed * 1000 + number, length, pick.randint(1, length)))
    return made
