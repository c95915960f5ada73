"""Every model against the base, by score and by group."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.report.data.collect import collect
from pipelines.report.data.read import read
from tests.unit.report import fixture


def reported(folder: Path, spoil: dict[str, dict[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
    """A report in which artifacts have other metrics."""
    config, inputs = fixture.config(**changes), fixture.artifacts(folder)
    for ref, metrics in (spoil or {}).items():
        inputs[ref] = replace(inputs[ref], metrics={**inputs[ref].metrics, **metrics})
    return collect(config, inputs, read(config, inputs))


def test_estimates_of_every_model_and_score_have_an_interval_about_the_difference(tmp_path: Path) -> None:
    suite = reported(tmp_path)["suites"]["test"]
    for row in suite["rows"]:
        assert suite["estimates"][row["name"]].keys() == {"best", "tuned"}
        for model, seen in suite["estimates"][row["name"]].items():
            if "differs" not in seen:
                assert seen["delta"] == pytest.approx(row["values"][model] - row["values"]["base"])
                assert seen["low"] <= seen["delta"] <= seen["high"] and seen["n"] == row["n"]["base"]
    assert suite["estimates"]["tickets/exact_match"]["best"]["clusters"] == 25
    assert suite["estimates"]["canaries/bleak"]["best"] == {"differs": "fewer than 6 documents"}


def test_estimates_of_the_base_against_itself_are_exactly_zero(tmp_path: Path) -> None:
    same = {"test": {"base": "evaluate.base@test", "again": "evaluate.base@test"}}
    suite = reported(tmp_path, scores=same, candidate="again")["suites"]["test"]
    found = [models["again"] for models in suite["estimates"].values() if "delta" in models["again"]]
    assert {seen["delta"] for seen in found} == {0.0} and {seen["p"] for seen in found} == {1.0}
    assert len(found) == 5


def test_estimates_of_measurements_that_differ_are_refused_and_say_why(tmp_path: Path) -> None:
    contract = fixture.scores("best")["contract"]
    other = {**contract, "facts": contract["facts"] | {"dtype": "int4"}}
    report = reported(tmp_path, {"evaluate.best@test": {"contract": other}})
    suite = report["suites"]["test"]
    assert suite["estimates"]["facts/acc"]["best"] == {"differs": "dtype differs (float32 and int4)"}
    (group,) = (group for group in suite["groups"] if group["names"] == ["facts/acc"])
    assert group["estimates"]["best"] == {"differs": "facts/acc: dtype differs (float32 and int4)"}
    (kept,) = (one for one in report["forgetting"]["models"] if (one["suite"], one["model"]) == ("test", "best"))
    assert kept["general"][0]["delta"] is None and "int4" in kept["general"][0]["differs"]


def test_estimates_where_only_the_tokenizer_differs_are_made(tmp_path: Path) -> None:
    contract = fixture.scores("best")["contract"]
    other = {name: item | {"tokenizer": "another"} for name, item in contract.items()}
    suite = reported(tmp_path, {"evaluate.best@test": {"contract": other}})["suites"]["test"]
    assert "delta" in suite["estimates"]["facts/acc"]["best"]
    assert suite["contract"]["told"]["facts.tokenizer"]["best"] == "another" and not suite["contract"]["differs"]


def test_group_of_one_score_has_the_interval_of_that_score_and_of_two_their_mean(tmp_path: Path) -> None:
    one = {model: fixture.scores(model) for model in fixture.MODELS}
    for found in one.values():
        found["scores"]["tickets/exact_match"]["group"] = "general"
    spoil = {f"evaluate.{model}@test": found for model, found in one.items()}
    alone, both = (reported(tmp_path / str(at), more)["suites"]["test"] for at, more in enumerate(({}, spoil)))
    estimates = alone["estimates"]
    groups = {(group["group"], group["unit"]): group for group in alone["groups"]}
    assert groups["target", "share"]["estimates"]["best"] == estimates["tickets/exact_match"]["best"]
    (group,) = (group for group in both["groups"] if group["scores"] == 2)
    mean = (estimates["tickets/exact_match"]["best"]["delta"] + estimates["facts/acc"]["best"]["delta"]) / 2
    assert group["estimates"]["best"]["delta"] == pytest.approx(mean)
    assert group["estimates"]["best"]["n"] == 140


def test_report_without_a_base_compares_nothing(tmp_path: Path) -> None:
    report = reported(tmp_path, scores={"test": {"best": "evaluate.best@test"}}, verdict=None)
    assert report["suites"]["test"]["estimates"] == {} and report["forgetting"]["models"] == []
    assert all(group["estimates"] == {} for group in report["suites"]["test"]["groups"])
    assert json.dumps(report)


def test_forgetting_has_gain_and_general_apart_with_what_was_retained(tmp_path: Path) -> None:
    report = reported(tmp_path)
    (kept,) = (one for one in report["forgetting"]["models"] if (one["suite"], one["model"]) == ("test", "best"))
    assert [round(part["delta"], 9) for part in kept["gain"]] == [0.35]
    assert [part["unit"] for part in kept["general"]] == ["share", "bits per byte"]
    assert kept["retention"] == pytest.approx((31 / 40 - 0.25) / (33 / 40 - 0.25)) and kept["retained"] == 1
    values = {row["name"]: row["values"] for row in report["suites"]["test"]["rows"]}
    assert kept["kl"] == values["chats/kl"]["best"] and kept["agreement"] == values["chats/agreement"]["best"]
    bits = values["pydoc/bits_per_byte"]
    assert kept["bits_per_byte"] == pytest.approx(bits["best"] - bits["base"])
    assert report["forgetting"]["replay"] == [{"id": "train.tuned", "wanted": 0.05, "achieved": 0.0503}]
