"""Gates on the mean of a group, and on documents in clusters."""

import math

import numpy as np
import pytest

from pipelines.errors import UserError
from tests.unit.gate.judging import answers, compare, judge
from tests.unit.stats.scores import scores_artifact

MEAN = {"group": "target", "mean": True, "rule": "no_regression", "margin": 0.05}


def test_mean_of_a_group_is_one_row_of_equal_weights(tmp_path):
    before = {"a/acc": answers(80, 100), "b/acc": answers(150, 300), "c/acc": answers(20, 40)}
    after = {"a/acc": answers(60, 100), "b/acc": answers(180, 300), "c/acc": answers(24, 40)}
    base, best = (scores_artifact(tmp_path, name, made) for name, made in (("base", before), ("best", after)))
    gate = judge(tmp_path, base, best, MEAN)["gates"][0]
    assert (gate["name"], gate["scores"], gate["n"]) == ("target (mean of 3)", ["a/acc", "b/acc", "c/acc"], 440)
    assert gate["base"] == pytest.approx((0.8 + 0.5 + 0.5) / 3)
    assert gate["delta"] == pytest.approx(0.0, abs=1e-12) and gate["low"] < 0 < gate["high"]
    assert gate["says"].startswith("target (mean of 3) ") and "440 documents)" in gate["says"]


def test_mean_of_own_values_needs_no_base(tmp_path):
    best = scores_artifact(tmp_path, "best", {"a/acc": answers(90, 100), "b/acc": answers(210, 300)})
    rule = {"group": "target", "mean": True, "rule": "at_least", "value": 0.7}
    gate = judge(tmp_path, None, best, rule)["gates"][0]
    assert gate["verdict"] == "PASS" and gate["candidate"] == pytest.approx(0.8)
    assert gate["low"] < 0.8 < gate["high"] and (gate["base"], gate["delta"], gate["p"]) == (None, None, None)


def test_one_score_that_cannot_be_compared_spoils_the_mean(tmp_path):
    base = scores_artifact(tmp_path, "base", {"a/acc": answers(75), "b/acc": answers(75)})
    best = scores_artifact(tmp_path, "best", {"a/acc": answers(75)})
    gate = judge(tmp_path, base, best, MEAN)["gates"][0]
    assert (gate["verdict"], gate["candidate"]) == ("FAIL", None)
    assert gate["says"] == "b/acc does not pass: the candidate has no such score."


def test_mean_of_other_units_is_refused(tmp_path):
    made = {"a/acc": answers(75), "b/bits_per_byte": [1.0] * 150}
    base = scores_artifact(tmp_path, "base", made)
    with pytest.raises(UserError, match=r"gates\[0\]\.mean: these scores have no common unit .*a/acc and b/bits"):
        judge(tmp_path, base, base, MEAN)


def test_clusters_widen_the_interval_and_are_told(tmp_path):
    generator = np.random.default_rng(1)
    names = [f"passage {i // 10}" for i in range(300)]
    shift = np.repeat(generator.random(30), 10)
    before = (generator.random(300) < 0.5).astype(float)
    after = (shift + 0.1 * generator.random(300) > 0.5).astype(float)
    rule = {"rule": "no_regression", "margin": 0.02}
    alone = compare(tmp_path / "alone", before.tolist(), after.tolist(), rule)["gates"][0]
    grouped = compare(tmp_path / "grouped", before.tolist(), after.tolist(), rule, clusters=names)["gates"][0]
    assert (alone["clusters"], grouped["clusters"], grouped["n"]) == (None, 30, 300)
    assert grouped["delta"] == alone["delta"]
    assert grouped["high"] - grouped["low"] > 1.3 * (alone["high"] - alone["low"])
    assert grouped["mde"] > 1.3 * alone["mde"] and grouped["needed"] > alone["needed"]
    assert ", 300 documents in 30 clusters): " in grouped["says"]
    assert grouped["verdict"] == "INCONCLUSIVE"
    assert grouped["says"].endswith(
        f"n = {grouped['needed']:,} needed, in {math.ceil(grouped['needed'] / 10):,} clusters."
    )


def test_handful_of_clusters_is_inconclusive(tmp_path):
    names = [f"text {i % 3}" for i in range(150)]
    found = compare(tmp_path, answers(10), answers(140), {"rule": "improve"}, clusters=names)
    assert found["verdict"] == "INCONCLUSIVE"
    assert "measured on 150 documents in 3 clusters only: fewer than" in found["gates"][0]["says"]
