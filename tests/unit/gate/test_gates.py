"""Gates from scores to verdict: rules, refusals, and what a reviewer reads."""

import numpy as np
import pytest
from pydantic import ValidationError

from pipelines.errors import UserError
from pipelines.gate.config import Gate
from pipelines.gate.rules import Gain, Verdict, gain, improve, no_regression, overall
from pipelines.stats.multiple import holm
from tests.unit.gate.judging import answers, compare, judge
from tests.unit.stats.scores import CONTRACT, scores_artifact


def test_clear_gain_passes_and_is_said_in_points(tmp_path):
    verdict = compare(tmp_path, answers(3), answers(92), {"rule": "improve", "by": 0.05})
    gate = verdict["gates"][0]
    assert (verdict["verdict"], verdict["blocks"], verdict["candidate"]) == ("PASS", False, "best")
    assert gate["delta"] == pytest.approx(89 / 150) and gate["low"] > 0.5 and gate["p"] < 1e-9
    assert gate["says"].startswith(
        "tickets/exact_match rose from 2.0 % to 61.3 %, by 59.3 points (95 % interval 51.3 to 66.9, 150 documents)"
    )
    assert gate["says"].endswith(": the gain is at least the 5.0 points asked for.")


def test_clear_loss_fails_and_blocks(tmp_path):
    verdict = compare(tmp_path, answers(120), answers(60), {"rule": "no_regression", "margin": 0.02})
    assert verdict["verdict"] == "FAIL" and verdict["blocks"]
    assert "the loss is more than the 2.0 points accepted" in verdict["gates"][0]["says"]


@pytest.mark.parametrize(("policy", "blocks"), [("warn", False), ("fail", True)])
def test_too_little_data_is_inconclusive_and_says_what_it_takes(policy, blocks, tmp_path):
    before = [1.0, 0.0] * 50
    after = [1.0, 0.0] * 44 + [0.0, 1.0] * 6
    verdict = compare(
        tmp_path, before, after, {"rule": "no_regression", "margin": 0.02, "on_inconclusive": policy}, "piqa/acc"
    )
    assert verdict["verdict"] == "INCONCLUSIVE" and verdict["blocks"] is blocks
    says = verdict["gates"][0]["says"]
    assert says.startswith("piqa/acc stayed at 50.0 % (95 % interval -7.")
    assert "a loss of more than 2.0 points is not ruled out" in says
    needed, mde = verdict["gates"][0]["needed"], verdict["gates"][0]["mde"]
    assert says.endswith(f"; this suite cannot see the regression you asked about: n = {needed:,} needed.")
    assert 2000 < needed < 4000 and needed == pytest.approx(100 * (mde / 0.02) ** 2, rel=0.05)


def test_base_against_itself_never_fails(tmp_path):
    verdict = compare(tmp_path, answers(60), answers(60), {"rule": "no_regression", "margin": 0.03})
    assert verdict["gates"][0]["delta"] == 0.0 and verdict["verdict"] == "PASS"


def test_ratio_that_is_lower_and_better_is_turned(tmp_path):
    generator = np.random.default_rng(0)
    size = generator.uniform(300, 900, 80)
    before = size * generator.normal(1.0, 0.1, 80)
    made = {"weights": size.tolist(), "lower_is_better": True, "group": "general"}
    name = "pydoc/bits_per_byte"
    base = scores_artifact(tmp_path, "base", {name: before.tolist()}, **made)
    better = scores_artifact(tmp_path, "better", {name: (before - 0.05 * size).tolist()}, **made)
    worse = scores_artifact(tmp_path, "worse", {name: (before + 0.05 * size).tolist()}, **made)
    rule = {"group": "general", "rule": "no_regression", "margin": 0.02}
    assert judge(tmp_path, base, better, rule)["verdict"] == "PASS"
    failed = judge(tmp_path, base, worse, rule)
    assert failed["verdict"] == "FAIL"
    gate = failed["gates"][0]
    assert gate["delta"] == pytest.approx(0.05) and gate["low"] <= 0.05 <= gate["high"]
    assert gate["method"].startswith("document bootstrap")
    assert "bits per byte, by 0.0500 (95 % interval 0.0500 to 0.0500, 80 documents): the loss is more" in gate["says"]


def test_group_gate_judges_every_score_of_the_group_by_itself(tmp_path):
    base = scores_artifact(tmp_path, "base", {"a/acc": answers(75), "b/acc": answers(75)})
    mixed = scores_artifact(tmp_path, "mixed", {"a/acc": answers(140), "b/acc": answers(10)})
    verdict = judge(tmp_path, base, mixed, {"group": "target", "rule": "no_regression", "margin": 0.02})
    assert [(gate["name"], gate["verdict"]) for gate in verdict["gates"]] == [("a/acc", "PASS"), ("b/acc", "FAIL")]
    assert all(gate["p_holm"] >= gate["p"] for gate in verdict["gates"])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"dtype": "bfloat16"}, "dtype differs (float32 and bfloat16)"),
        ({"documents": "e" * 64}, "documents differs (dddddddddddd and eeeeeeeeeeee)"),
        ({"shots": 3}, "shots differs (None and 3)"),
    ],
)
def test_measurements_that_disagree_fail_closed(changes, says, tmp_path):
    base = scores_artifact(tmp_path, "base", {"a/acc": answers(3)})
    other = scores_artifact(tmp_path, "other", {"a/acc": answers(92)}, contract=CONTRACT | changes)
    verdict = judge(tmp_path, base, other, {"metric": "a/acc", "rule": "improve"})
    gate = verdict["gates"][0]
    assert (verdict["verdict"], verdict["blocks"], gate["delta"]) == ("FAIL", True, None)
    assert gate["says"] == f"a/acc cannot be compared with the base and therefore does not pass: {says}."


def test_documents_in_another_order_fail_closed(tmp_path):
    base = scores_artifact(tmp_path, "base", {"a/acc": answers(3)})
    other = scores_artifact(tmp_path, "other", {"a/acc": answers(92)})
    file = other.path / "samples" / "a.jsonl"
    file.write_text("".join(f"{line}\n" for line in reversed(file.read_text().splitlines())))
    assert (
        "the documents differ"
        in judge(tmp_path, base, other, {"metric": "a/acc", "rule": "improve"})["gates"][0]["says"]
    )


def test_score_that_its_samples_do_not_give_is_refused(tmp_path):
    base = scores_artifact(tmp_path, "base", {"a/acc": answers(3)})
    other = scores_artifact(tmp_path, "other", {"a/acc": answers(92)})
    file = other.path / "scores.json"
    file.write_text(file.read_text().replace(str(92 / 150), "0.9"))
    with pytest.raises(UserError, match=r"a/acc: scores\.json and its samples disagree"):
        judge(tmp_path, base, other, {"metric": "a/acc", "rule": "improve"})


def test_handful_of_documents_is_inconclusive(tmp_path):
    verdict = compare(tmp_path, [0.0] * 4, [1.0] * 4, {"rule": "improve"})
    assert verdict["verdict"] == "INCONCLUSIVE" and "measured on 4 documents only" in verdict["gates"][0]["says"]


@pytest.mark.parametrize(
    ("gate", "says"),
    [
        ({"metric": "tickets/exact_mach"}, r"gates\[0\]\.metric: no such score .* Did you mean tickets/exact_match\?"),
        ({"group": "targets"}, r"gates\[0\]\.group: no score is in this group .* Did you mean target\?"),
        (
            {"metric": "tickets/exact_match", "suite": "tset"},
            r"gates\[0\]\.suite: no such suite .* Did you mean test\?",
        ),
    ],
)
def test_gate_on_something_unknown_is_refused(gate, says, tmp_path):
    base = scores_artifact(tmp_path, "base", {"tickets/exact_match": answers(3)})
    with pytest.raises(UserError, match=says):
        judge(tmp_path, base, base, {"rule": "improve"} | gate)


@pytest.mark.parametrize("gate", [{"rule": "improve", "margin": 0.1}, {"rule": "no_regression", "by": 0.1}])
def test_threshold_of_the_other_rule_is_refused(gate):
    with pytest.raises(ValidationError, match="belongs to"):
        Gate(metric="a/acc", **gate)


@pytest.mark.parametrize(
    ("low", "high", "by", "verdict"),
    [
        (0.06, 0.2, 0.05, "PASS"),
        (0.01, 0.2, 0.05, "INCONCLUSIVE"),
        (0.01, 0.04, 0.05, "FAIL"),
        (0.0, 0.1, 0.0, "INCONCLUSIVE"),
        (0.0, 0.0, 0.0, "FAIL"),
    ],
)
def test_improve_rule_is_three_valued(low, high, by, verdict):
    assert improve(Gain((low + high) / 2, low, high), by) == verdict


@pytest.mark.parametrize(
    ("low", "high", "p", "verdict"),
    [
        (-0.01, 0.05, 0.9, "PASS"),
        (-0.04, 0.01, 0.2, "INCONCLUSIVE"),
        (-0.09, -0.03, 0.001, "FAIL"),
        (-0.09, -0.03, 0.06, "FAIL"),
        (-0.05, -0.01, 0.01, "INCONCLUSIVE"),
        (-0.025, -0.001, 0.01, "INCONCLUSIVE"),
    ],
)
def test_no_regression_rule_is_three_valued(low, high, p, verdict):
    assert no_regression(Gain((low + high) / 2, low, high), 0.02, p, 0.05) == verdict


@pytest.mark.parametrize(("p", "verdict"), [(0.01, "FAIL"), (0.06, "INCONCLUSIVE")])
def test_loss_without_a_margin_fails_by_the_p_of_all_gates(p, verdict):
    assert no_regression(Gain(-0.03, -0.05, -0.01), 0.0, p, 0.05) == verdict


def test_gain_turns_what_is_better_lower():
    assert gain(0.1, -0.2, 0.3, True) == Gain(-0.1, -0.3, 0.2)


def test_holm_steps_down_and_stays_ordered():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_overall_verdict_is_the_worst():
    good, bad, open_ = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE
    assert (overall([good, open_, bad]), overall([good, open_]), overall([good])) == (bad, open_, good)


@pytest.mark.parametrize(
    "rule", [{"rule": "improve"}, {"rule": "at_least", "value": 0.0}, {"rule": "drift", "max": 0.0}]
)
def test_gate_stands_when_it_is_written_out_and_read_back(rule):
    gate = Gate(metric="a/acc", **rule)
    assert Gate.model_validate(gate.model_dump(mode="json")) == gate
