"""Documents that changed between base and candidate."""

from typing import Any

from pipelines.report.data.flips import EXAMPLES, flips, keyed


def sample(document: str, score: float, answer: str = "", metric: str = "acc") -> dict[str, Any]:
    return {
        "id": document, "doc_hash": document, "prompt": "p", "target": "t", "answer": answer,
        "scores": {metric: score}, "weight": 1.0,
    }  # fmt: skip


def test_flips_of_binary_scores_count_both_ways() -> None:
    base = [sample(d, s) for d, s in zip("abcde", (1, 1, 0, 0, 1), strict=True)]
    other = [sample(d, s) for d, s in zip("abcde", (1, 0, 1, 1, 1), strict=True)]
    found = flips(base, other, "acc", False, None)
    assert (found["n"], found["binary"], found["worse"], found["better"]) == (5, True, 1, 2)
    assert [example["id"] for example in found["worst"]] == ["b"]
    assert [example["id"] for example in found["best"]] == ["c", "d"]


def test_flips_of_one_model_against_itself_are_none() -> None:
    base = [sample(d, 0.5) for d in "abc"]
    found = flips(base, base, "acc", False, None)
    assert (found["worse"], found["better"], found["worst"], found["best"]) == (0, 0, [], [])


def test_flips_where_lower_is_better_turn_around_and_rank_by_size() -> None:
    base = [sample(d, 1.0) for d in "abc"]
    other = [sample("a", 1.5), sample("b", 3.0), sample("c", 0.5)]
    found = flips(base, other, "acc", True, None)
    assert not found["binary"]
    assert [example["id"] for example in found["worst"]] == ["b", "a"]
    assert [example["id"] for example in found["best"]] == ["c"]


def test_flips_keep_few_short_examples() -> None:
    base = [sample(str(d), 1.0) for d in range(50)]
    other = [sample(str(d), 0.0, "y" * 100_000) for d in range(50)]
    found = flips(base, other, "acc", False, None)
    assert found["worse"] == 50 and len(found["worst"]) == EXAMPLES
    assert all(len(example["answers"]["candidate"]) <= 1000 for example in found["worst"])


def test_flips_of_shuffled_and_repeated_documents_meet_by_content() -> None:
    base = [sample("a", 1.0), sample("b", 0.0), sample("a", 0.0), sample("only base", 1.0)]
    other = [sample("b", 1.0), sample("a", 1.0), sample("a", 1.0), sample("only other", 1.0)]
    found = flips(base, other, "acc", False, None)
    assert (found["n"], found["worse"], found["better"]) == (3, 0, 2)
    assert [key for key, _ in keyed(base)] == [("a", 0), ("b", 0), ("a", 1), ("only base", 0)]


def test_flips_of_right_answers_that_are_guesses_are_adjusted() -> None:
    """With two choices half of what both get wrong would turn by guessing alone: 2 of 8 turned, 2 of 8 stayed wrong."""
    base = [sample(str(d), s) for d, s in enumerate((1, 1, 1, 1, 1, 0, 0, 0))]
    other = [sample(str(d), s) for d, s in enumerate((0, 0, 1, 1, 1, 0, 0, 1))]
    plain, guessed = (flips(base, other, "acc", False, chance) for chance in (None, 0.5))
    assert (plain["worse_adjusted"], plain["better_adjusted"]) == (0.25, 0.125)
    assert (guessed["worse_adjusted"], guessed["better_adjusted"]) == (0.0, 0.0)
    turned = flips(
        *([{**s, "scores": {"acc": 1 - s["scores"]["acc"]}} for s in x] for x in (base, other)), "acc", True, 0.5
    )
    assert turned == {**guessed, "worst": turned["worst"], "best": turned["best"]}


def test_flips_of_scores_that_are_no_yes_or_no_have_no_adjusted_share() -> None:
    found = flips([sample("a", 0.5)], [sample("a", 0.7)], "acc", False, 0.25)
    assert (found["worse_adjusted"], found["better_adjusted"]) == (None, None)
