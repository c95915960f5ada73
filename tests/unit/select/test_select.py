"""Selection: the rule, its limits, and the folder of the model that is picked."""

import json

import pytest
from pydantic import ValidationError

from pipelines.engine.stage import Artifact
from pipelines.errors import UserError
from pipelines.hf import links
from pipelines.select.config import Candidate, SelectConfig
from pipelines.select.run import run
from tests.unit.stats.scores import CONTRACT, scores_artifact

DEV = {  # name: exact match, bits per byte
    "base": (0.0, 1.00),
    "tuned": (0.9, 1.10),
    "kept": (0.8, 1.015),
    "half": (0.8, 1.01),
}


def scores(tmp_path, name: str, contract: dict | None = None) -> Artifact:
    target, loss = DEV[name]
    made = scores_artifact(tmp_path, f"{name}@dev", {"tickets/exact_match": [target] * 10}, contract=contract)
    other = scores_artifact(
        tmp_path, f"{name}@text", {"pydoc/bits_per_byte": [loss] * 10}, group="general", lower_is_better=True
    )
    content = {key: made.metrics[key] | other.metrics[key] for key in ("scores", "contract")}
    (made.path / "scores.json").write_text(json.dumps(content))
    return made


def model(tmp_path, name: str) -> Artifact:
    folder = tmp_path / "models" / name
    (folder / "more").mkdir(parents=True)
    (folder / "model.safetensors").write_text(f"weights of {name}")
    (folder / "more" / "LICENSE").write_text("licence")
    return Artifact(name, "model", folder, name * 8)


def select(tmp_path, names=("tuned", "kept", "half"), contract=None, **rule) -> tuple[dict, Artifact]:
    artifacts = {"base@dev": scores(tmp_path, "base")}
    for name in names:
        artifacts |= {name: model(tmp_path, name), f"{name}@dev": scores(tmp_path, name, contract)}
    candidates = tuple(Candidate(model=name, scores=f"{name}@dev") for name in names)
    config = SelectConfig.model_validate({"candidates": candidates, "base": "base@dev"} | rule)
    (tmp_path / "out").mkdir()
    return run(config, artifacts, tmp_path / "out"), artifacts


def test_largest_score_is_picked(tmp_path):
    metrics, _ = select(tmp_path, maximize="tickets/exact_match")
    assert metrics["picked"] == "tuned" and metrics["rule"] == "maximize tickets/exact_match"


def test_smallest_score_is_picked(tmp_path):
    metrics, _ = select(tmp_path, minimize="pydoc/bits_per_byte")
    assert metrics["picked"] == "half"


def test_limit_rules_out_and_the_first_of_equals_wins(tmp_path):
    metrics, _ = select(tmp_path, maximize="tickets/exact_match", subject_to={"general": {"max_drop": 0.02}})
    assert metrics["picked"] == "kept"
    assert metrics["rule"] == "maximize tickets/exact_match, general: max_drop 0.02"
    assert [row["admissible"] for row in metrics["table"]] == [False, True, True]
    assert [row["drops"]["general"] for row in metrics["table"]] == pytest.approx([0.1, 0.015, 0.01])


def test_picked_folder_holds_hard_links(tmp_path):
    _, artifacts = select(tmp_path, maximize="tickets/exact_match")
    for file in ("model.safetensors", "more/LICENSE"):
        assert (tmp_path / "out" / file).samefile(artifacts["tuned"].path / file)


def test_file_system_without_links_gets_copies(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(links.os, "link", refuse)
    select(tmp_path, maximize="tickets/exact_match")
    assert (tmp_path / "out" / "model.safetensors").read_text() == "weights of tuned"


def test_no_admissible_candidate_says_what_each_loses(tmp_path):
    with pytest.raises(UserError) as error:
        select(tmp_path, maximize="tickets/exact_match", subject_to={"general": {"max_drop": 0.005}})
    assert "tuned loses 0.1 in general; kept loses 0.015 in general; half loses 0.01 in general" in str(error.value)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"maximize": "tickets/exact"}, r"maximize: no such score .* Did you mean tickets/exact_match\?"),
        (
            {"maximize": "tickets/exact_match", "subject_to": {"genral": {"max_drop": 1}}},
            r"no score is in this group .* Did you mean general\?",
        ),
    ],
)
def test_rule_on_something_unknown_is_refused(rule, says, tmp_path):
    with pytest.raises(UserError, match=says):
        select(tmp_path, **rule)


def test_candidate_that_was_measured_otherwise_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"tickets was not measured on a candidate as on the base \(got dtype\)"):
        select(tmp_path, maximize="tickets/exact_match", contract=CONTRACT | {"dtype": "bfloat16"})


@pytest.mark.parametrize("rule", [{}, {"maximize": "a/b", "minimize": "a/b"}])
def test_rule_needs_exactly_one_goal(rule, tmp_path):
    with pytest.raises(ValidationError, match="exactly one of maximize and minimize"):
        select(tmp_path, **rule)
