"""A changed default changes what an old recipe makes, so it must come with a raised stage version."""

import importlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from pipelines.engine.stage import Runtime, Stage

GOLDEN = Path(__file__).with_name("identity.json")
ROOMS = ("base", "prepare", "replay", "train", "merge", "evaluate", "gate", "select", "export", "report", "search")


STAGES = {room: f"pipelines.{room}.config:STAGE" for room in ROOMS} | {
    "quantize": "pipelines.quantize.config:QUANTIZE",
    "choose": "pipelines.quantize.config:CHOOSE",
}


def stage_of(name: str) -> Stage:
    module, _, attribute = STAGES[name].partition(":")
    stage: Stage = getattr(importlib.import_module(module), attribute)
    return stage


def defaults(stage: Stage) -> dict[str, dict[str, Any]]:
    """Default of every optional identity field of the config and of the models inside it."""
    schema = stage.config.model_json_schema(by_alias=False)
    runtime = {
        name
        for name, field in stage.config.model_fields.items()
        if any(isinstance(mark, Runtime) for mark in field.metadata)
    }
    models = {stage.config.__name__: schema, **schema.get("$defs", {})}
    return {
        model: {
            name: field["default"]
            for name, field in sorted(definition.get("properties", {}).items())
            if "default" in field and not (model == stage.config.__name__ and name in runtime)
        }
        for model, definition in sorted(models.items())
    }


@pytest.mark.parametrize("room", STAGES)
def test_identity_changed_default_needs_a_raised_version(room: str) -> None:
    stage = stage_of(room)
    now = {"version": stage.version, "defaults": defaults(stage)}
    known = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if os.environ.get("BURNISH_UPDATE_GOLDEN"):
        GOLDEN.write_text(json.dumps(known | {room: now}, indent=1, sort_keys=True) + "\n")
        return
    assert now == known[room], (
        f"the defaults of {room} are not those of version {known[room]['version']}: raise its version, "
        "then write them down with BURNISH_UPDATE_GOLDEN=1"
    )
