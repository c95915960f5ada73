"""Calibration rows: drawn by the seed, cut, and refused where they cannot be the model's."""

import random
from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.hf.rows import Row, write_rows
from pipelines.quantize.rows import draw, remarks


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A dataset of 100 rows; row n holds n + 1 times the token n."""
    (tmp_path / "rows").mkdir()
    rows = [Row(f"{at}", "s", None, [at] * (at + 1), [at] * (at + 1)) for at in range(100)]
    write_rows(tmp_path / "rows" / "train.parquet", rows)
    return tmp_path


def test_draw_same_seed_gives_same_rows_and_another_seed_others(dataset: Path):
    first = draw(dataset, 10, 512, 3, 100)
    assert first == draw(dataset, 10, 512, 3, 100)
    assert first != draw(dataset, 10, 512, 4, 100)
    assert first == [[at] * (at + 1) for at in random.Random(3).sample(range(100), 10)]


def test_draw_cuts_rows_and_takes_none_twice(dataset: Path):
    rows = draw(dataset, 1000, 16, 0, 100)
    assert len(rows) == 100
    assert max(map(len, rows)) == 16
    assert len({row[0] for row in rows}) == 100


def test_draw_token_outside_the_vocabulary_is_refused(dataset: Path):
    with pytest.raises(UserError, match=r"a row has a token outside the vocabulary of 99 \(got 99\)"):
        draw(dataset, 100, 16, 0, 99)


def test_draw_without_rows_is_refused(tmp_path: Path):
    (tmp_path / "rows").mkdir()
    write_rows(tmp_path / "rows" / "train.parquet", [Row("a", "s", None, [], [])])
    with pytest.raises(UserError, match="has no rows to look at"):
        draw(tmp_path, 10, 16, 0, 100)


def test_remarks_tell_few_rows_and_few_tokens():
    found = {finding.rule: finding for finding in remarks([[1, 2, 3]] * 10, 256, 64)}
    assert found["calibration-rows"].got == "10 rows, 256 asked for"
    assert found["calibration-tokens"].got == "30 tokens for weights of 64 columns"
    assert {finding.severity for finding in found.values()} == {"W"}


def test_remarks_enough_rows_or_none_looked_at_say_nothing():
    assert remarks([[1] * 10] * 64, 256, 640) == []
    assert remarks([], 256, 640) == []
