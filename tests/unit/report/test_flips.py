"""Documents that changed between base and candidate."""

from typing import Any

from pipelines.report.flips import EXAMPLES, flips, pairs


def sample(document: str, score: float, answer: str = "", metric: str = "acc") -> dict[str, Any]:
    return {
        "id": document, "doc_hash": document, "prompt": "p", "target": "t", "answer": answer,
        "scores": {metric: score}, "weight": 1.0,
    }  # fmt: skip


def test_flips_of_binary_scores_count_both_ways() -> None:
    base = [sample(d, s) for d, s in zip("abcde", (1, 1, 0, 0, 1), strict=True)]
    other = [sample(d, s) for d, s in zip("abcde", (1, 0, 1, 1, 1), strict=True)]
    found = flips(base, other, "acc", lower_is_better=False)
    assert (found["n"], found["binary"], found["worse"], found["better"]) == (5, True, 1, 2)
    assert [example["id"] for example in found["worst"]] == ["b"]
    assert [example["id"] for example in found["best"]] == ["c", "d"]


def test_flips_of_one_model_against_itself_are_none() -> None:
    base = [sample(d, 0.5) for d in "abc"]
    found = flips(base, base, "acc", lower_is_better=False)
    assert (found["worse"], found["better"], found["worst"], found["best"]) == (0, 0, [], [])


def test_flips_where_lower_is_better_turn_around_and_rank_by_size() -> None:
    base = [sample(d, 1.0) for d in "abc"]
    other = [sample("a", 1.5), sample("b", 3.0), sample("c", 0.5)]
    found = flips(base, other, "acc", lower_is_better=True)
    assert not found["binary"]
    assert [example["id"] for example in found["worst"]] == ["b", "a"]
    assert [example["id"] for example in found["best"]] == ["c"]


def test_flips_keep_few_short_examples() -> None:
    base = [sample(str(d), 1.0) for d in range(50)]
    other = [sample(str(d), 0.0, "y" * 100_000) for d in range(50)]
    found = flips(base, other, "acc", lower_is_better=False)
    assert found["worse"] == 50 and len(found["worst"]) == EXAMPLES
    assert all(len(example["answers"]["candidate"]) <= 1000 for example in found["worst"])


def test_pairs_of_shuffled_and_repeated_documents_meet_by_content() -> None:
    base = [sample("a", 1.0), sample("b", 0.0), sample("a", 0.0), sample("only base", 1.0)]
    other = [sample("b", 1.0), sample("a", 1.0), sample("a", 1.0), sample("only other", 1.0)]
    assert [(pair.base["id"], pair.delta) for pair in pairs(base, other, "acc")] == [("a", 0), ("b", 1), ("a", 1)]
