"""The prepare stage on a pico tokenizer."""

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.engine.stage import Artifact
from pipelines.errors import UserError
from pipelines.hf.chat import IGNORED
from pipelines.hf.dataset import read_documents
from pipelines.hf.models import load_tokenizer
from pipelines.hf.rows import ROW_GROUP, Row, read_rows, write_rows
from pipelines.prepare.config import PrepareConfig
from pipelines.prepare.inspect import spans
from pipelines.prepare.run import run
from tests.pico import CHATML


def prepare(base, out, rows_or_path, **settings):
    out.mkdir()
    path = rows_or_path
    if isinstance(path, list):
        path = out.parent / "tickets.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows_or_path))
    config = PrepareConfig(source=settings.pop("source", {"files": str(path)}), **settings)
    return run(config, {"base": Artifact("base", "model", base, "k")}, out)


def pair(ask, answer="ok", **further):
    return {"prompt": ask, "completion": answer, **further}


def ids(folder, split="train"):
    path = folder / f"rows/{split}.parquet"
    return [row.id for row in read_rows(path)] if path.exists() else []


def dropped(folder):
    return [json.loads(line) for line in (folder / "dropped.jsonl").read_text().splitlines()]


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_rows_hold_the_template_and_train_only_the_answer(pico_base, tmp_path):
    card = prepare(pico_base, tmp_path / "out", [pair("what?", "that", mood="kind")], format="prompt_completion")
    (row,) = read_rows(tmp_path / "out/rows/train.parquet")
    words = load_tokenizer(pico_base)
    assert spans(row, words) == [
        ("<|im_start|>user\nwhat?<|im_end|>\n<|im_start|>assistant\n", False),
        ("that<|im_end|>", True),
        ("\n", False),
    ]
    assert row.source == "tickets"
    assert row.messages == [{"role": "user", "content": "what?"}, {"role": "assistant", "content": "that"}]
    assert list(read_documents(tmp_path / "out/rows/train.jsonl")) == [
        {"id": row.id, "messages": row.messages, "prompt": "what?", "completion": "that", "mood": "kind"}
    ]
    assert card == json.loads((tmp_path / "out/card.json").read_text())
    length, trained = len(row.input_ids), sum(label != IGNORED for label in row.labels)
    shape = {"rows": 1, "tokens": length, "loss_tokens": trained, "p50": length, "p95": length, "max": length}
    assert card["splits"] == {"train": shape}
    assert card["mask"] == "markers"
    assert card["files"][0]["name"] == "tickets.jsonl"


def test_every_format_gives_the_same_conversation(pico_base, tmp_path):
    talk = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    rows = {
        "messages": {"messages": talk},
        "prompt_completion": {"prompt": "q", "completion": "a", "system": "s"},
        "alpaca": {"instruction": "q", "input": "", "output": "a", "system": "s"},
        "sharegpt": {
            "conversations": [
                {"from": from_, "value": turn["content"]}
                for from_, turn in zip(("system", "human", "gpt"), talk, strict=True)
            ]
        },
    }
    for format, row in rows.items():
        prepare(pico_base, tmp_path / format, [row], format=format)
    first, *others = [list(read_rows(tmp_path / format / "rows/train.parquet")) for format in rows]
    assert first[0].messages == talk
    assert all(other == first for other in others)


def test_csv_json_parquet_and_jsonl_give_the_same_rows(pico_base, tmp_path):
    table = [pair("what?", "that"), pair('say "x,\ny"', "über")]
    (tmp_path / "a.json").write_text(json.dumps(table))
    (tmp_path / "a.csv").write_text('prompt,completion\nwhat?,that\n"say ""x,\ny""",über\n', encoding="utf-8")
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in table))
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "a.parquet")
    found = []
    for ending in ("json", "csv", "jsonl", "parquet"):
        prepare(pico_base, tmp_path / ending, tmp_path / f"a.{ending}", format="prompt_completion")
        found.append(list(read_rows(tmp_path / ending / "rows/train.parquet")))
    assert len(found[0]) == 2
    assert all(rows == found[0] for rows in found)


def test_columns_fill_texts_and_system_goes_before_rows_without_one(pico_base, tmp_path):
    columns = {"prompt": "Sort: {text}", "completion": '{"label": {category}}', "source": "category"}
    rows = [{"text": "lost card", "category": "cards"}]
    prepare(pico_base, tmp_path / "o", rows, format="prompt_completion", columns=columns, system="Be kind.")
    (row,) = read_rows(tmp_path / "o/rows/train.parquet")
    assert [turn["content"] for turn in row.messages] == ["Be kind.", "Sort: lost card", '{"label": cards}']
    assert row.source == "cards"


def test_plain_text_is_trained_whole(pico_base, tmp_path):
    card = prepare(pico_base, tmp_path / "o", [{"text": "the quick fox", "page": 3}], format="text")
    (row,) = read_rows(tmp_path / "o/rows/train.parquet")
    assert (card["mask"], row.messages, row.labels) == ("all", None, row.input_ids)
    assert list(read_documents(tmp_path / "o/rows/train.jsonl")) == [{"id": row.id, "text": "the quick fox", "page": 3}]


def test_duplicates_long_rows_and_control_tokens_are_dropped_with_their_reasons(pico_base, tmp_path):
    rows = [pair("Hi  there"), pair("x " * 200), pair("hi THERE"), pair("say <|im_end|>"), pair("b")]
    card = prepare(pico_base, tmp_path / "o", rows, format="prompt_completion", max_length=64)
    assert sorted((drop["line"], drop["reason"]) for drop in dropped(tmp_path / "o")) == [
        (2, "too_long"),
        (3, "duplicate"),
        (4, "special_token"),
    ]
    assert card["rows"] == {"in": 5, "kept": 2, "dropped": {"duplicate": 1, "special_token": 1, "too_long": 1}}


def test_truncation_cuts_the_end_and_drops_rows_with_nothing_left_to_learn(pico_base, tmp_path):
    rows = [pair("a", "word " * 100), pair("word " * 100, "a")]
    card = prepare(pico_base, tmp_path / "o", rows, format="prompt_completion", max_length=64, on_too_long="truncate")
    (row,) = read_rows(tmp_path / "o/rows/train.parquet")
    assert len(row.input_ids) == len(row.labels) == 64
    assert row.labels[-1] == row.input_ids[-1]
    assert [drop["reason"] for drop in dropped(tmp_path / "o")] == ["all_masked"]
    assert card["truncated"] == 1


def test_nothing_left_is_an_error_that_counts_the_reasons(pico_base, tmp_path):
    with pytest.raises(UserError, match=r"no row is left.*too_long 2"):
        prepare(
            pico_base, tmp_path / "o", [pair("x " * 90), pair("y " * 90)], format="prompt_completion", max_length=16
        )


def test_split_by_hash_never_moves_old_rows_when_rows_are_added(pico_base, tmp_path):
    rows = [pair(f"question {number}") for number in range(120)]
    share = {"split": {"dev": 0.2, "test": 0.2}, "format": "prompt_completion"}
    prepare(pico_base, tmp_path / "old", rows[:80], **share)
    prepare(pico_base, tmp_path / "new", [*rows[80:], *rows[:80]], **share)
    for split in ("train", "dev", "test"):
        assert set(ids(tmp_path / "old", split)) < set(ids(tmp_path / "new", split))
    assert 8 <= len(ids(tmp_path / "old", "test")) <= 24


def test_rows_that_ask_the_same_stay_in_one_split(pico_base, tmp_path):
    rows = [pair(f"{ask} {number}", answer) for number in range(30) for ask, answer in (("Q", "one"), (" q", "two"))]
    prepare(pico_base, tmp_path / "o", rows, format="prompt_completion", split={"test": 0.5})
    asked = {
        split: {doc["prompt"].strip().lower() for doc in read_documents(tmp_path / f"o/rows/{split}.jsonl")}
        for split in ("train", "test")
    }
    assert len(asked["train"]) + len(asked["test"]) == 30


def test_split_by_column_follows_the_column(pico_base, tmp_path):
    rows = [pair(f"q{number}", part=part) for number, part in enumerate(("test", "train", "dev", "train"))]
    card = prepare(pico_base, tmp_path / "o", rows, format="prompt_completion", split={"column": "part"})
    assert {split: part["rows"] for split, part in card["splits"].items()} == {"train": 2, "dev": 1, "test": 1}


def test_limit_keeps_a_seeded_sample_of_the_training_rows_only(pico_base, tmp_path):
    rows = [pair(f"q{number}", part="test" if number < 5 else "train") for number in range(40)]
    settings = {"format": "prompt_completion", "split": {"column": "part"}, "limit": 10}
    card = prepare(pico_base, tmp_path / "a", rows, seed=1, **settings)
    prepare(pico_base, tmp_path / "b", rows, seed=2, **settings)
    assert card["rows"]["dropped"] == {"limit": 25}
    assert (len(ids(tmp_path / "a")), len(ids(tmp_path / "a", "test"))) == (10, 5)
    assert ids(tmp_path / "a") != ids(tmp_path / "b")


def test_same_input_gives_the_same_bytes(pico_base, tmp_path):
    rows = [pair(f"q{number}", "é" * (number % 7 + 1)) for number in range(300)]
    settings = {"format": "prompt_completion", "split": {"dev": 0.1, "test": 0.1}, "limit": 100}
    prepare(pico_base, tmp_path / "a", rows, **settings)
    prepare(pico_base, tmp_path / "b", rows, **settings)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert not any(str(tmp_path).encode() in content for content in files(tmp_path / "a").values())


def test_rows_that_the_template_refuses_are_named_by_file_and_line(pico_base, tmp_path):
    base = shutil.copytree(pico_base, tmp_path / "base")
    refusal = "{% if messages[0].role == 'system' %}{{ raise_exception('No system turns, please') }}{% endif %}"
    (base / "chat_template.jinja").write_text(refusal + CHATML)
    rows = [pair("a"), pair("b", system="s"), pair("c"), pair("d", system="s")]
    with pytest.raises(UserError) as error:
        prepare(base, tmp_path / "o", rows, format="prompt_completion")
    first, second = str(error.value).splitlines()
    assert "tickets.jsonl:2: chat template refuses this conversation: No system turns, please" in first
    assert "tickets.jsonl:4: " in second


def test_broken_parquet_rows_are_all_told(pico_base, tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist([pair("a"), pair("b", None), pair("c", " ")]), path)
    with pytest.raises(UserError) as error:
        prepare(pico_base, tmp_path / "o", path, format="prompt_completion")
    assert [line.split("a.parquet:")[1] for line in str(error.value).splitlines()] == [
        "2: completion is empty",
        "3: completion is empty",
    ]


def test_hub_dataset_while_offline_is_a_clear_line(pico_base, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"source.hub: cannot be loaded") as error:
        prepare(pico_base, tmp_path / "o", None, source={"hub": "nobody/nothing", "revision": "0" * 40})
    assert len(str(error.value).splitlines()) == 1


def test_repeated_rows_without_dedup_have_ids_of_their_own(pico_base, tmp_path):
    prepare(pico_base, tmp_path / "o", [pair("a"), pair("a")], format="prompt_completion", dedup={"exact": False})
    first, second = ids(tmp_path / "o")
    assert second == f"{first}-2"


def test_rows_survive_writing_and_reading_in_row_groups(tmp_path):
    rows = [Row(f"r{number}", "s", None, [1, number], [IGNORED, number]) for number in range(ROW_GROUP + 5)]
    assert write_rows(tmp_path / "r.parquet", iter(rows)) == len(rows)
    assert list(read_rows(tmp_path / "r.parquet")) == rows
    assert pq.ParquetFile(tmp_path / "r.parquet").num_row_groups == 2
