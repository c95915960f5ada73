"""What must never pass: measurements that disagree, are missing, empty or no numbers; and what must always be zero."""

import json

import numpy as np
import pytest

from pipelines.engine.stage import Artifact
from tests.unit.gate.judging import answers, compare, judge
from tests.unit.stats.scores import CONTRACT, scores_artifact

IMPROVE = {"metric": "a/acc", "rule": "improve"}
RULES = [
    {"rule": "improve"},
    {"rule": "no_regression", "margin": 0.9},
    {"rule": "drift", "max": 0.99},
    {"rule": "at_least", "value": 0.0},
]
FULL = {
    "lm-eval": "0.4.13", "torch": "2.13.0", "transformers": "5.23.0", "dtype": "float32", "device": "cpu",
    "backend": "hf", "batch_size": 16, "sample_seed": 0, "limit": 100, "task": "a" * 64, "documents": "b" * 64,
    "prompts": "c" * 64, "template": "d" * 64, "shots": 0,
}  # fmt: skip


def edited(artifact: Artifact, **changes) -> Artifact:
    """The artifact with its only score changed in scores.json."""
    file = artifact.path / "scores.json"
    content = json.loads(file.read_text())
    next(iter(content["scores"].values())).update(changes)
    file.write_text(json.dumps(content))
    return artifact


@pytest.mark.parametrize("key", FULL)
def test_every_key_of_the_contract_fails_closed_and_is_named(key, tmp_path):
    other = FULL | {key: 17 if isinstance(FULL[key], int) else "other"}
    base = scores_artifact(tmp_path, "base", {"a/acc": answers(3)}, contract=FULL)
    best = scores_artifact(tmp_path, "best", {"a/acc": answers(92)}, contract=other)
    verdict = judge(tmp_path, base, best, IMPROVE)
    assert (verdict["verdict"], verdict["blocks"]) == ("FAIL", True)
    was = str(FULL[key])[:12]
    assert f"does not pass: {key} differs ({was} and {other[key]})." in verdict["gates"][0]["says"]


def test_all_that_differs_is_named(tmp_path):
    base = scores_artifact(tmp_path, "base", {"a/acc": answers(3)}, contract=FULL)
    other = {key: value for key, value in FULL.items() if key != "backend"} | {"shots": 5, "dtype": "bfloat16"}
    best = scores_artifact(tmp_path, "best", {"a/acc": answers(92)}, contract=other)
    says = judge(tmp_path, base, best, IMPROVE)["gates"][0]["says"]
    assert "dtype differs (float32 and bfloat16), backend differs (hf and None), shots differs (0 and 5)." in says


def test_tokenizer_of_its_own_is_told_and_forbids_nothing(tmp_path):
    base = scores_artifact(tmp_path, "base", {"a/acc": answers(3)}, contract=CONTRACT | {"tokenizer": "a" * 64})
    best = scores_artifact(tmp_path, "best", {"a/acc": answers(92)}, contract=CONTRACT | {"tokenizer": "b" * 64})
    gate = judge(tmp_path, base, best, IMPROVE)["gates"][0]
    assert gate["verdict"] == "PASS" and gate["delta"] is not None
    assert gate["says"].endswith("; the tokenizers differ (aaaaaaaaaaaa and bbbbbbbbbbbb).")


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_score_that_is_no_finite_number_never_passes(rule, bad, tmp_path):
    before, after = answers(75), [bad, *answers(140, 149)]
    verdict = compare(tmp_path, before, after, rule)
    gate = verdict["gates"][0]
    assert (verdict["verdict"], verdict["blocks"], gate["candidate"]) == ("FAIL", True, None)
    assert gate["says"] == (
        f"tickets/exact_match does not pass: the score of the candidate is no finite number ({bad})."
    )


def test_base_that_is_no_finite_number_lets_nothing_pass(tmp_path):
    gate = compare(tmp_path, [float("nan")] * 150, answers(140), {"rule": "no_regression", "margin": 0.9})["gates"][0]
    assert gate["verdict"] == "FAIL" and "the score of the base is no finite number (nan)" in gate["says"]


@pytest.mark.parametrize("rule", RULES)
def test_no_document_never_passes(rule, tmp_path):
    base, best = (
        edited(scores_artifact(tmp_path, name, {"a/acc": answers(100)}), n=0, value=1.0) for name in ("base", "best")
    )
    gate = judge(tmp_path, base, best, {"metric": "a/acc"} | rule)["gates"][0]
    assert (gate["verdict"], gate["n"]) == ("FAIL", 0)
    assert gate["says"] == "a/acc does not pass: the candidate was measured on no document."


@pytest.mark.parametrize(("lacks", "side"), [("best", "the candidate"), ("base", "the base")])
def test_score_that_one_side_lacks_never_passes(lacks, side, tmp_path):
    both = {"a/acc": answers(75), "b/acc": answers(75)}
    made = {
        name: scores_artifact(tmp_path, name, {"a/acc": answers(75)} if name == lacks else both)
        for name in ("base", "best")
    }
    rule = {"group": "target", "rule": "no_regression", "margin": 0.9}
    verdict = judge(tmp_path, made["base"], made["best"], rule)
    found = {gate["name"]: gate for gate in verdict["gates"]}
    assert (verdict["verdict"], found["a/acc"]["verdict"], found["b/acc"]["verdict"]) == ("FAIL", "PASS", "FAIL")
    assert found["b/acc"]["says"] == f"b/acc does not pass: {side} has no such score."


def test_fewer_documents_on_one_side_never_pass(tmp_path):
    base = scores_artifact(tmp_path, "base", {"a/acc": answers(75, 100)})
    best = scores_artifact(tmp_path, "best", {"a/acc": answers(90, 90)})
    gate = judge(tmp_path, base, best, IMPROVE)["gates"][0]
    assert gate["verdict"] == "FAIL" and gate["says"].endswith("does not pass: the documents differ.")


def test_refused_gates_take_no_part_in_holm(tmp_path):
    base = scores_artifact(tmp_path, "base", {"a/acc": answers(75), "b/acc": answers(75)})
    best = edited(scores_artifact(tmp_path, "best", {"a/acc": answers(1), "b/acc": answers(60)}), value=float("nan"))
    gates = judge(tmp_path, base, best, {"group": "target", "rule": "no_regression", "margin": 0.01})["gates"]
    assert gates[0]["p_holm"] is None and gates[1]["p_holm"] == gates[1]["p"]


@pytest.mark.parametrize("kind", ["binary", "mean", "ratio", "clustered"])
def test_base_against_itself_is_exactly_zero(kind, tmp_path):
    generator = np.random.default_rng(5)
    values = answers(70) if kind in ("binary", "clustered") else generator.random(150).tolist()
    made = {
        "ratio": {"weights": generator.uniform(10, 90, 150).tolist(), "lower_is_better": True},
        "clustered": {"clusters": [str(i // 5) for i in range(150)]},
    }.get(kind, {})
    base = scores_artifact(tmp_path, "base", {"a/x": values}, **made)
    rules = [{"rule": "no_regression", "margin": 0.2}, {"rule": "drift", "max": 0.2}, {"rule": "improve"}]
    gates = judge(tmp_path, base, base, *({"metric": "a/x"} | rule for rule in rules))["gates"]
    for gate in gates:
        assert gate["delta"] == 0.0 and gate["low"] <= 0.0 <= gate["high"] and gate["p"] == 1.0
        assert " stayed at " in gate["says"]
    assert [gate["verdict"] for gate in gates][:2] == ["PASS", "PASS"] and gates[2]["verdict"] != "PASS"
