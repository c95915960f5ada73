"""Buffers sampled from a prepared dataset."""

import json
from collections import Counter

import pytest

from pipelines.engine.stage import Artifact
from pipelines.errors import UserError
from pipelines.hf.chat import encode, encode_texts
from pipelines.hf.dataset import DatasetWriter, read_documents, row_id
from pipelines.hf.masks import choose_mask
from pipelines.hf.models import load_tokenizer
from pipelines.hf.rows import Row, read_rows
from pipelines.replay.config import ReplayConfig
from pipelines.replay.run import run
from pipelines.replay.select import held_apart, quotas, sampled

SIZES = {"chats": 60, "code": 30, "maths": 10}


@pytest.fixture(scope="module")
def dataset(pico_base, tmp_path_factory):
    """A dataset of chats in three domains and a few plain texts, as `prepare` writes one."""
    folder = tmp_path_factory.mktemp("dataset")
    words = load_tokenizer(pico_base)
    mask = choose_mask(words)
    with DatasetWriter(folder) as writer:
        for domain, count in SIZES.items():
            for number in range(count):
                turns = [
                    {"role": "user", "content": f"{domain} {number}?"},
                    {"role": "assistant", "content": "yes " * (1 + number % 3)},
                ]
                row = Row(row_id(turns), domain, turns, *encode(words, turns, mask))
                writer.add("train", row, {"number": number})
        row = Row(row_id(None, "a text"), "texts", None, *encode_texts(words, ["a text"])[0])
        writer.add("train", row, {}, "a text")
        writer.finish("markers", 0, [], licence=None, card=None)
    return folder


def replay(base, dataset, out, **settings):
    out.mkdir()
    balance = settings.pop("balance", 1.0)
    config = ReplayConfig(from_="old", policy={"kind": "uniform", "balance": balance}, **settings)
    return run(
        config, {"base": Artifact("base", "model", base, "k"), "old": Artifact("old", "dataset", dataset, "d")}, out
    )


def domains(folder):
    return Counter(row.source for row in read_rows(folder / "rows/train.parquet"))


def test_quotas_are_proportional_equal_or_between():
    assert quotas(SIZES, 10, 1.0) == {"chats": 6, "code": 3, "maths": 1}
    assert quotas(SIZES, 10, 0.0) == {"chats": 4, "code": 3, "maths": 3}
    assert quotas(SIZES, 48, 0.0) == {"chats": 19, "code": 19, "maths": 10}
    assert quotas(SIZES, 500, 0.5) == SIZES
    assert quotas({"a": 5}, 3, 1.0) == {"a": 3}


@pytest.mark.parametrize("balance", [0.0, 0.3, 0.7, 1.0])
def test_quotas_add_up_and_never_exceed_a_domain(balance):
    for total in range(0, 110, 7):
        taken = quotas(SIZES, total, balance)
        assert sum(taken.values()) == min(total, 100)
        assert all(0 <= taken[domain] <= size for domain, size in SIZES.items())


def test_sample_stays_mostly_the_same_when_rows_are_added():
    rows = [(f"r{number}", "d") for number in range(100)]
    old = {rows[at] for at in sampled(rows, 20, 1.0, 0)}
    grown = [*rows, *((f"n{number}", "d") for number in range(10))]
    new = {grown[at] for at in sampled(grown, 20, 1.0, 0)}
    assert len(old & new) >= 14


def test_buffer_keeps_rows_and_documents_of_the_dataset(pico_base, dataset, tmp_path):
    card = replay(pico_base, dataset, tmp_path / "o", size=101)
    assert list(read_rows(tmp_path / "o/rows/train.parquet")) == list(read_rows(dataset / "rows/train.parquet"))
    assert list(read_documents(tmp_path / "o/rows/train.jsonl")) == list(read_documents(dataset / "rows/train.jsonl"))
    assert (card["wanted"], card["rows"]["kept"], card["mask"]) == (101, 101, "markers")


def test_balance_moves_the_domains_towards_each_other(pico_base, dataset, tmp_path):
    replay(pico_base, dataset, tmp_path / "a", size=30)
    replay(pico_base, dataset, tmp_path / "b", size=30, balance=0.0)
    assert domains(tmp_path / "a") == {"chats": 18, "code": 9, "maths": 3}
    assert domains(tmp_path / "b") == {"chats": 10, "code": 10, "maths": 9, "texts": 1}


def test_held_out_rows_share_no_prompt_with_the_others(pico_base, dataset, tmp_path):
    card = replay(pico_base, dataset, tmp_path / "o", size=50, held_out=0.2)
    assert {split: part["rows"] for split, part in card["splits"].items()} == {"train": 40, "test": 10}
    assert held_apart(["a", "a", "b", "c"], 0.01, 0) < {"a", "b", "c"}
    assert held_apart(["a"], 0.5, 0) == frozenset()


def test_rows_longer_than_allowed_are_dropped_with_their_reason(pico_base, dataset, tmp_path):
    lengths = sorted(len(row.input_ids) for row in read_rows(dataset / "rows/train.parquet"))
    card = replay(pico_base, dataset, tmp_path / "o", size=200, max_length=lengths[50])
    assert card["rows"]["dropped"]["too_long"] == sum(length > lengths[50] for length in lengths)
    drops = [json.loads(line) for line in (tmp_path / "o/dropped.jsonl").read_text().splitlines()]
    assert {drop["reason"] for drop in drops} == {"too_long"}


def test_buffer_with_nothing_left_is_refused(pico_base, dataset, tmp_path):
    with pytest.raises(UserError, match="no row is left"):
        replay(pico_base, dataset, tmp_path / "o", size=5, balance=1.0, max_length=8)
