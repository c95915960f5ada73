"""Scores of several models side by side."""

from typing import Any

import pytest

from pipelines.report.data.measures import contract, flatten, group_means, measures


def found(value: float, **conditions: Any) -> dict[str, Any]:
    score = {"n": 10, "group": "general", "lower_is_better": False, "kind": "mean", "stderr": 0.1, "chance": 0.1}
    scores = {"a/acc": score | {"value": value}, "b/acc": score | {"value": value / 2}}
    return {"scores": scores, "contract": {"a": {"dtype": "float32"} | conditions}}


def test_measures_of_a_score_that_one_model_lacks_keep_the_others() -> None:
    tuned = found(0.6)
    tuned["scores"]["c/kl"] = tuned["scores"]["a/acc"] | {"value": 0.1}
    rows = {row["name"]: row for row in measures({"base": found(0.4), "tuned": tuned})}
    assert rows["a/acc"]["values"] == {"base": 0.4, "tuned": 0.6}
    assert rows["c/kl"]["values"] == {"tuned": 0.1}


def test_contract_of_equal_conditions_has_no_difference() -> None:
    assert contract({"base": found(0.4), "tuned": found(0.5)}) == {
        "same": {"a.dtype": "float32"},
        "differs": {},
        "told": {},
    }


def test_contract_of_a_changed_and_a_missing_condition_names_both() -> None:
    told = contract({"base": found(0.4, shots=0), "tuned": found(0.5, dtype="bfloat16")})
    assert told["same"] == {}
    assert told["differs"] == {
        "a.dtype": {"base": "float32", "tuned": "bfloat16"},
        "a.shots": {"base": 0, "tuned": None},
    }


def test_group_means_are_means_over_scores_that_all_models_have() -> None:
    models = {"base": found(0.4), "tuned": found(0.6)}
    models["tuned"]["scores"]["c/acc"] = models["tuned"]["scores"]["a/acc"]
    (group,) = group_means({"models": list(models), "rows": measures(models)})
    assert group["scores"] == 2
    assert {model: round(mean, 9) for model, mean in group["means"].items()} == {"base": 0.3, "tuned": 0.45}


def test_contract_of_another_tokenizer_is_told_and_forbids_nothing() -> None:
    told = contract({"base": found(0.4, tokenizer="a"), "tuned": found(0.5, tokenizer="b")})
    assert told["differs"] == {} and told["told"] == {"a.tokenizer": {"base": "a", "tuned": "b"}}


def test_retention_of_a_share_is_what_is_left_above_chance() -> None:
    models = {"base": found(0.5), "tuned": found(0.3), "best": found(0.45)}
    for model in models.values():
        model["scores"]["a/acc"]["stderr"] = 0.01
    rows = {row["name"]: row for row in measures(models)}
    assert rows["a/acc"]["retention"] == {"tuned": pytest.approx(0.5), "best": pytest.approx(0.875)}
    assert rows["b/acc"]["retention"] == {"tuned": None, "best": None}  # the base is within 3 errors of chance


def test_retention_is_not_said_of_drift_and_of_errors() -> None:
    models = {"base": found(0.5), "tuned": found(0.3)}
    for model in models.values():
        model["scores"]["a/acc"]["kind"] = "ratio"
        model["scores"]["b/acc"]["lower_is_better"] = True
    assert [row["retention"] for row in measures(models)] == [{}, {}]


def test_flatten_of_nested_facts_gives_dotted_paths() -> None:
    assert dict(flatten({"a": {"b": 1, "c": [1, 2]}, "d": None})) == {"a.b": 1, "a.c": [1, 2], "d": None}
