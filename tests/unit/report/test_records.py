"""What the records tell: settings, lineage, and what making it all took."""

from pathlib import Path
from typing import Any

from pipelines.engine.stage import Artifact
from pipelines.engine.store import Record
from pipelines.report.data.records import lineage, resources, settings


def record(name: str, key: str, inputs: dict[str, str], **numbers: Any) -> Record:
    fields = {"identity": {"config": {}}, "metrics": {}, "files": {"a": (3, 0, "")}, "seconds": 1800.0, **numbers}
    return Record(name=name, stage=name.partition(".")[0], kind="model", key=key, inputs=inputs, **fields)


def made(**keys: str) -> dict[str, Artifact]:
    return {name.replace("_", "."): Artifact(name, "model", Path(), key) for name, key in keys.items()}


def test_lineage_of_an_artifact_that_another_recipe_made_goes_by_keys() -> None:
    """The other recipe called the base `origin`, and its own base is another one."""
    artifacts = made(base="b", train_tuned="t")
    records = {"train.tuned": record("train.small", "t", {"origin": "b", "base": "unknown"})}
    told = lineage(artifacts, records)
    assert told["edges"] == [["base", "train.tuned"]]
    assert told["nodes"][1] == {"id": "train.tuned", "kind": "model", "stage": "train"}


def test_lineage_of_two_names_of_one_artifact_keeps_the_name_that_was_used() -> None:
    artifacts = made(train_a="same", train_b="same", merge_m="m")
    records = {"merge.m": record("merge.m", "m", {"train.a": "same"})}
    assert lineage(artifacts, records)["edges"] == [["train.a", "merge.m"]]


def test_resources_of_one_artifact_under_two_names_count_once() -> None:
    artifacts = made(train_a="same", train_b="same", merge_m="m")
    records = {name: record(name, artifact.key, {}) for name, artifact in artifacts.items()}
    told = resources(artifacts, records, 2.0, "EUR")
    assert [row["id"] for row in told["rows"]] == ["train.a", "merge.m"]
    assert told["total_seconds"] == 3600.0
    assert told["cost"] == {"amount": 2.0, "currency": "EUR", "per_hour": 2.0}
    assert [row["bytes"] for row in told["rows"]] == [3, 3]


def test_resources_without_a_price_have_no_cost() -> None:
    assert resources({}, {}, None, "USD") == {"rows": [], "total_seconds": 0, "cost": None}


def test_settings_name_inputs_and_shorten_digests() -> None:
    config = {"on": {"input": "b"}, "file": {"sha256": "c" * 64}, "lambda_": [1, {"input": "other" * 9}]}
    records = {"train.tuned": record("train.tuned", "t", {}, identity={"config": config})}
    told = settings(made(base="b", train_tuned="t"), records)["train.tuned"]
    assert told == {"on": "base", "file": "sha256:cccccccccccc", "lambda": [1, "otherotherot"]}
