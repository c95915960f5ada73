"""Gates on a value of the candidate's own, and on how far it went from the base."""

import numpy as np
import pytest
from pydantic import ValidationError

from pipelines.gate.config import Gate
from pipelines.gate.rules import Gain, at_least, drift
from tests.unit.gate.judging import answers, compare, judge
from tests.unit.stats.scores import scores_artifact


def kl(mean: float, n: int = 60) -> dict:
    """Divergences per token of n chats of 20 to 100 tokens."""
    generator = np.random.default_rng(3)
    tokens = generator.integers(20, 100, n).astype(float)
    sums = tokens * mean * generator.uniform(0.5, 1.5, n)
    return {"values": {"chats/kl": sums.tolist()}, "weights": tokens.tolist(), "lower_is_better": True}


def test_at_least_needs_no_base(tmp_path):
    candidate = scores_artifact(tmp_path, "best", {"a/acc": answers(120)})
    verdict = judge(tmp_path, None, candidate, {"metric": "a/acc", "rule": "at_least", "value": 0.7})
    gate = verdict["gates"][0]
    assert verdict["verdict"] == "PASS"
    assert [gate[key] for key in ("base", "delta", "p", "p_holm", "needed")] == [None] * 5
    assert gate["candidate"] == 0.8 and 0.7 < gate["low"] < 0.8 < gate["high"]
    span = f"{100 * gate['low']:.1f} to {100 * gate['high']:.1f}"
    assert gate["says"] == (
        f"a/acc is 80.0 % (95 % interval {span}, 150 documents): it is at least the 70.0 % asked for."
    )


def test_value_at_its_threshold_asks_for_no_absurd_number_of_documents(tmp_path):
    gate = compare(tmp_path, answers(120), answers(120), {"rule": "at_least", "value": 0.80001})["gates"][0]
    assert (gate["verdict"], gate["needed"]) == ("INCONCLUSIVE", None)
    assert "with so many documents only changes of" in gate["says"]


@pytest.mark.parametrize(
    ("value", "verdict", "says"),
    [
        (0.9, "FAIL", "it is less than the 90.0 % asked for."),
        (0.75, "INCONCLUSIVE", "it is not certain to be at least the 75.0 % asked for; this suite cannot tell: n = "),
    ],
)
def test_at_least_that_is_not_certain_does_not_pass(value, verdict, says, tmp_path):
    found = compare(tmp_path, answers(10), answers(120), {"rule": "at_least", "value": value})
    assert found["verdict"] == verdict and f", 150 documents): {says}" in found["gates"][0]["says"]
    assert found["gates"][0]["base"] == pytest.approx(10 / 150)


def test_at_least_of_what_is_better_lower_means_at_least_as_good(tmp_path):
    size = [500.0] * 40
    bits = {"pydoc/bits_per_byte": [500 * (1 + i % 5 / 100) for i in range(40)]}
    candidate = scores_artifact(tmp_path, "best", bits, weights=size, lower_is_better=True)
    gate = {"metric": "pydoc/bits_per_byte", "rule": "at_least"}
    passed, failed = (judge(tmp_path, None, candidate, gate | {"value": value}) for value in (1.1, 1.0))
    assert (passed["verdict"], failed["verdict"]) == ("PASS", "FAIL")
    assert "): it is at least as good as the 1.1000 bits per byte asked for." in passed["gates"][0]["says"]
    assert "): it is worse than the 1.0000 bits per byte asked for." in failed["gates"][0]["says"]


@pytest.mark.parametrize(("most", "verdict"), [(0.2, "PASS"), (0.05, "FAIL"), (0.1, "INCONCLUSIVE")])
def test_divergence_must_stay_below_by_its_own_value(most, verdict, tmp_path):
    found, zero = kl(0.1), kl(0.0)
    base, candidate = (scores_artifact(tmp_path, name, **made) for name, made in (("base", zero), ("best", found)))
    gate = judge(tmp_path, base, candidate, {"metric": "chats/kl", "rule": "drift", "max": most})["gates"][0]
    assert (gate["verdict"], gate["base"], gate["p"]) == (verdict, 0.0, None)
    assert gate["delta"] == gate["candidate"] and gate["low"] < gate["candidate"] < gate["high"]
    assert gate["says"].startswith("chats/kl is 0.1") and "nats per token (95 % interval" in gate["says"]


@pytest.mark.parametrize(("flipped", "verdict"), [(0, "PASS"), (9, "INCONCLUSIVE"), (60, "FAIL")])
def test_other_drift_is_equivalence_in_both_directions(flipped, verdict, tmp_path):
    for sign in ("up", "down"):
        before, after = answers(200, 300), answers(200 - flipped if sign == "down" else 200 + flipped, 300)
        found = compare(tmp_path / sign, before, after, {"rule": "drift", "max": 0.05})
        assert found["verdict"] == verdict
        assert 0 <= found["gates"][0]["p"] <= found["gates"][0]["p_holm"] <= 1


def test_drift_that_too_few_documents_could_show_says_so(tmp_path):
    before, after = [1.0, 0.0] * 50, [1.0, 0.0] * 44 + [0.0, 1.0] * 6
    gate = compare(tmp_path, before, after, {"rule": "drift", "max": 0.03})["gates"][0]
    assert gate["says"].endswith(
        ": a drift beyond 3.0 points is not ruled out; "
        f"this suite cannot see the drift you asked about: n = {gate['needed']:,} needed."
    )
    assert gate["needed"] == pytest.approx(100 * (gate["mde"] / 0.03) ** 2, rel=0.05)


def test_improvement_near_its_threshold_says_what_would_tell(tmp_path):
    gate = compare(tmp_path, answers(60), answers(75), {"rule": "improve", "by": 0.07})["gates"][0]
    assert gate["verdict"] == "INCONCLUSIVE" and gate["needed"] > 150
    told = f"this suite cannot tell: n = {gate['needed']:,} needed."
    assert gate["says"].endswith(told)


def test_rules_are_three_valued_at_their_bounds():
    assert [at_least(Gain(0.5, low, high), 0.4) for low, high in ((0.4, 0.6), (0.3, 0.4), (0.3, 0.39))] == [
        "PASS", "INCONCLUSIVE", "FAIL",
    ]  # fmt: skip
    spans = ((-0.1, 0.1), (-0.11, 0.1), (0.0, 0.2), (0.11, 0.2), (-0.3, -0.11), (-0.2, 0.2))
    assert [drift(low, high, 0.1) for low, high in spans] == [
        "PASS", "INCONCLUSIVE", "INCONCLUSIVE", "FAIL", "FAIL", "INCONCLUSIVE",
    ]  # fmt: skip
    assert drift(0.0, 0.0, 0.0) == "PASS"


@pytest.mark.parametrize(
    ("gate", "says"),
    [
        ({"rule": "at_least"}, "at_least needs value"),
        ({"rule": "drift"}, "drift needs max"),
        ({"rule": "drift", "max": 0.1, "value": 0.1}, "value belongs to at_least; drift takes max"),
    ],
)
def test_rule_without_its_own_threshold_is_refused(gate, says):
    with pytest.raises(ValidationError, match=says):
        Gate(metric="a/acc", **gate)
