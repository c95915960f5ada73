"""What other seeds of the training say beside a gate, and what they never decide."""

import json

import numpy as np
import pytest

from tests.unit.gate.judging import answers, judge
from tests.unit.stats.scores import CONTRACT, scores_artifact

GATE = {"metric": "a/acc", "rule": "improve"}
NAMES = ("evaluate.best@test", "evaluate.second@test", "evaluate.third@test")


def models(folder, counts=(90, 84, 96), **made):
    return [scores_artifact(folder, name, {"a/acc": answers(n)}, **made) for name, n in zip(NAMES, counts, strict=True)]


def test_seeds_are_told_beside_the_gate_as_the_recipes(tmp_path):
    base = scores_artifact(tmp_path, "base", {"a/acc": answers(45)})
    best, *seeds = models(tmp_path)
    gate = judge(tmp_path, base, best, GATE, seeds=tuple(seeds))["gates"][0]
    over = gate["over_seeds"]
    assert sorted(over) == ["delta", "high", "low", "sd_seeds", "seeds"]
    assert over["seeds"] == 3 and over["delta"] == pytest.approx(45 / 150) and over["low"] < 0.3 < over["high"]
    low, high = (f"{100 * over[key]:.1f}" for key in ("low", "high"))
    told = f"; over 3 training seeds the difference to the base is +30.0 points ({low} to {high}), "
    assert gate["says"].endswith(f"{told}which is about the recipe and not about these weights.")


def test_seeds_that_change_no_document_are_no_certainty(tmp_path):
    base = scores_artifact(tmp_path, "base", {"a/acc": answers(45)})
    best, *seeds = models(tmp_path, (45, 45, 45))
    gate = judge(tmp_path, base, best, GATE, seeds=tuple(seeds))["gates"][0]
    assert gate["over_seeds"] is None
    assert gate["says"].endswith(
        "cannot be told: no document has another score with any of the models than with the base."
    )


def test_seeds_do_not_move_the_verdict(tmp_path):
    base = scores_artifact(tmp_path, "base", {"a/acc": answers(45)})
    best, *seeds = models(tmp_path, (90, 0, 1))
    alone, beside = (judge(tmp_path, base, best, GATE, seeds=more)["gates"][0] for more in ((), tuple(seeds)))
    assert alone["over_seeds"] is None and beside["over_seeds"]["delta"] < 0
    own = ("verdict", "delta", "low", "high", "p", "p_holm", "needed")
    assert [alone[key] for key in own] == [beside[key] for key in own]


@pytest.mark.parametrize("case", ["other dtype", "same model", "not a number", "no such score"])
def test_seeds_that_do_not_fit_are_left_out_and_it_is_said(case, tmp_path):
    base = scores_artifact(tmp_path, "base", {"a/acc": answers(45)})
    best, second, third = models(tmp_path)
    name = NAMES[2] + "x"
    if case == "other dtype":
        third = scores_artifact(tmp_path, name, {"a/acc": answers(96)}, contract=CONTRACT | {"dtype": "bfloat16"})
        why = "third cannot be compared: dtype differs (float32 and bfloat16)"
    elif case == "same model":
        third = type(best)(NAMES[2], "scores", best.path, best.key)
        why = "third is the same model as the candidate"
    elif case == "not a number":
        third = scores_artifact(tmp_path, name, {"a/acc": [float("nan")] * 150})
        why = "a/acc of third is no finite number"
    else:
        third = scores_artifact(tmp_path, name, {"b/acc": answers(96)})
        why = "third has no a/acc"
    gate = judge(tmp_path, base, best, GATE, seeds=(second, third))["gates"][0]
    assert (gate["verdict"], gate["over_seeds"]) == ("PASS", None)
    assert gate["says"].endswith(f"; what a seed changes cannot be told: {why}.")


def test_seeds_of_a_ratio_have_the_difference_of_the_ratios(tmp_path):
    generator = np.random.default_rng(0)
    size = generator.uniform(300, 900, 80)
    bits = size * generator.normal(1.0, 0.1, 80)
    made = {"weights": size.tolist(), "lower_is_better": True}
    name = "pydoc/bits_per_byte"
    base, best, second = (
        scores_artifact(tmp_path, model, {name: (bits + shift * size).tolist()}, **made)
        for model, shift in (("base", 0.0), ("best", 0.02), ("second", 0.04))
    )
    rule = {"metric": name, "rule": "no_regression", "margin": 0.1}
    gate = judge(tmp_path, base, best, rule, seeds=(second,))["gates"][0]
    assert gate["over_seeds"]["delta"] == pytest.approx(0.03)
    assert gate["over_seeds"]["sd_seeds"] == pytest.approx(0.02 / 2**0.5, rel=1e-6)


def test_seeds_of_a_mean_weigh_its_scores_equally(tmp_path):
    def scored(name, a, b):
        return scores_artifact(tmp_path, name, {"a/acc": answers(a, 100), "b/acc": answers(b, 300)})

    base, best, second = scored("base", 50, 150), scored("best", 60, 210), scored("second", 70, 180)
    rule = {"group": "target", "mean": True, "rule": "improve"}
    gate = judge(tmp_path, base, best, rule, seeds=(second,))["gates"][0]
    assert gate["delta"] == pytest.approx(0.15) and gate["over_seeds"]["delta"] == pytest.approx(0.15)
    assert gate["over_seeds"]["sd_seeds"] < 1e-9, "both seeds gain 15 points in the mean"


def test_seeds_of_an_own_value_are_told_as_differences(tmp_path):
    base = scores_artifact(tmp_path, "base", {"a/acc": answers(45)})
    best, *seeds = models(tmp_path)
    rule = {"metric": "a/acc", "rule": "at_least", "value": 0.4}
    gate = judge(tmp_path, base, best, rule, seeds=tuple(seeds))["gates"][0]
    assert gate["over_seeds"]["delta"] == pytest.approx(0.3)
    assert "over 3 training seeds the difference to the base is +30.0 points (" in json.dumps(gate)
