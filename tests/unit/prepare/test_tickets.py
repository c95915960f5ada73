"""The ticket generator and its shipped settings."""

import json
from collections import Counter
from pathlib import Path

import pytest
import yaml

from pipelines.errors import UserError
from pipelines.prepare.tickets import tickets

SETTINGS = yaml.safe_load((Path(__file__).parents[3] / "data/tickets.yaml").read_text())


@pytest.fixture(scope="module")
def rows():
    return list(tickets(SETTINGS, 17))


def test_rows_have_the_splits_and_intents_in_even_parts(rows):
    assert Counter(row["split"] for row in rows) == {"train": 1200, "dev": 100, "test": 200}
    intents = Counter(json.loads(row["completion"])["intent"] for row in rows)
    assert set(intents.values()) == {300}


def test_answer_is_compact_json_whose_values_stand_in_the_text(rows):
    for row in rows:
        meaning = json.loads(row["completion"])
        assert row["completion"] == json.dumps(meaning, separators=(",", ":"))
        assert list(meaning) == ["intent", "product", "order", "urgent"]
        assert meaning["product"] in row["prompt"].lower()
        assert str(meaning["order"]) in row["prompt"]


def test_families_and_prompts_of_the_splits_are_disjoint(rows):
    sentences = {}
    for split in ("train", "dev", "test"):
        by_intent = [SETTINGS["intents"][intent][split] for intent in SETTINGS["intents"]]
        sentences[split] = {sentence for families in by_intent for sentence in families}
    assert not sentences["train"] & (sentences["test"] | sentences["dev"])
    assert not sentences["dev"] & sentences["test"]
    assert not set(SETTINGS["urgent"]["train"]) & set(SETTINGS["urgent"]["test"])
    assert len({row["prompt"] for row in rows}) == len(rows)


def test_same_seed_gives_the_same_rows_and_another_does_not(rows):
    assert list(tickets(SETTINGS, 17)) == rows
    assert list(tickets(SETTINGS, 18)) != rows


def test_sentence_cut_by_a_yaml_comment_is_refused():
    broken = json.loads(json.dumps(SETTINGS))
    broken["intents"]["refund"]["train"].append("Where is my {product}? It is order")
    with pytest.raises(UserError, match="quote a sentence that holds a #"):
        next(tickets(broken, 1))


def test_missing_settings_are_refused_by_name():
    with pytest.raises(UserError, match=r"products: Field required"):
        next(tickets({}, 1))
