"""The rule on scores that were made up: which level is shipped, and what is said of the others."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.engine.stage import Artifact
from pipelines.quantize.choose import run
from pipelines.quantize.config import ChooseConfig

LIMITS = {"general": 0.02, "target": 0.05}


def choose(
    folder: Path, levels: dict[str, tuple[int, dict[str, float]]], **contract: Any
) -> tuple[dict[str, Any], Path]:
    """The stage's answer and its folder, for a model of 1,000 bytes and levels of given bytes and scores.

    `contract` is what the measurements of the levels say of themselves, where that of the model says float32.
    """
    inputs = {
        "export.ship": _export(folder, "", 1000),
        "evaluate.ship@dev.ship": _scores(folder, "whole", {}, {"dtype": "float32", "tokenizer": "a"}),
    }
    trials = []
    for level, (size, values) in levels.items():
        trials.append({"export": f"export.ship.{level}", "scores": f"evaluate.ship.{level}@dev.ship"})
        inputs[trials[-1]["export"]] = _export(folder, level, size)
        said = {"dtype": "float32", "tokenizer": "b"} | contract
        inputs[trials[-1]["scores"]] = _scores(folder, level, values, said)
    whole = {"export": "export.ship", "scores": "evaluate.ship@dev.ship"}
    config = ChooseConfig.model_validate({"unquantised": whole, "trials": trials, "max_drop": LIMITS})
    out = folder / "out"
    out.mkdir()
    return run(config, inputs, out), out


def _export(folder: Path, level: str, size: int) -> Artifact:
    path, inside = folder / f"export-{level}", level or "safetensors"
    (path / inside).mkdir(parents=True)
    (path / inside / "model.safetensors").write_text(f"weights {level}")
    (path / "verification.json").write_text(json.dumps({"checks": [level], "warnings": []}))
    known = {"level": level, "memory_bytes": 2 * size, "tokens_per_second": 7.5} if level else {}
    return Artifact(level, "export", path, level, {"folder": inside, "bytes": size, **known})


def _scores(folder: Path, name: str, values: dict[str, float], contract: dict[str, Any]) -> Artifact:
    """Scores of 0.5 but for those given; bits per byte are lower where they are better."""
    path = folder / f"scores-{name}"
    path.mkdir()
    found = {
        "skill/acc": ("target", False),
        "facts/acc": ("general", False),
        "prose/bits_per_byte": ("general", True),
        "odd/acc": ("elsewhere", False),
    }
    scores = {
        key: {"value": values.get(key, 0.5), "n": 9, "group": group, "lower_is_better": lower}
        for key, (group, lower) in found.items()
    }
    content = {"scores": scores, "contract": {key.partition("/")[0]: contract for key in scores}}
    (path / "scores.json").write_text(json.dumps(content))
    return Artifact(name, "scores", path, name, content)


def test_smallest_level_inside_every_limit_is_picked(tmp_path: Path) -> None:
    told, out = choose(
        tmp_path, {"fp8": (500, {}), "int8": (400, {"facts/acc": 0.49}), "w4a16_awq": (300, {"skill/acc": 0.4})}
    )
    assert (told["picked"], told["level"], told["folder"], told["bytes"]) == ("int8", "int8", "int8", 400)
    assert [(row["level"], row["admissible"]) for row in told["table"]] == [
        (None, True), ("fp8", True), ("int8", True), ("w4a16_awq", False),
    ]  # fmt: skip
    assert told["table"][3]["why"] == "loses 0.1 in target, more than 0.05"
    assert told["rule"] == "the smallest that loses at most 0.02 in general, 0.05 in target"
    assert told["notes"] == []
    assert json.loads((out / "verification.json").read_text())["checks"] == ["int8"]


def test_picked_folder_is_the_same_files_and_the_choice_is_kept_beside_it(tmp_path: Path) -> None:
    told, out = choose(tmp_path, {"fp8": (500, {})})
    assert sorted(path.name for path in out.iterdir()) == ["choice.json", "fp8", "verification.json"]
    assert (out / "fp8" / "model.safetensors").samefile(tmp_path / "export-fp8" / "fp8" / "model.safetensors")
    kept = json.loads((out / "choice.json").read_text())
    assert (kept["picked"], kept["rule"]) == (told["picked"], told["rule"])
    timed = [{"memory_bytes": None, "tokens_per_second": None}, {"memory_bytes": 1000, "tokens_per_second": 7.5}]
    assert [row | more for row, more in zip(kept["table"], timed, strict=True)] == told["table"]


def test_loss_is_the_largest_of_the_group_and_knows_what_is_better(tmp_path: Path) -> None:
    told, _ = choose(tmp_path, {"fp8": (500, {"facts/acc": 0.6, "prose/bits_per_byte": 0.51})})
    assert told["table"][1]["drops"] == pytest.approx({"general": 0.01, "target": 0.0})
    assert told["picked"] == "fp8"


def test_groups_without_a_limit_may_lose(tmp_path: Path) -> None:
    assert choose(tmp_path, {"fp8": (500, {"odd/acc": 0.0})})[0]["picked"] == "fp8"


def test_loss_of_exactly_the_limit_is_accepted(tmp_path: Path) -> None:
    assert choose(tmp_path, {"fp8": (500, {"facts/acc": 0.48})})[0]["picked"] == "fp8"


def test_no_level_inside_the_limits_ships_the_weights_and_says_so(tmp_path: Path) -> None:
    told, out = choose(tmp_path, {"fp8": (500, {"facts/acc": 0.1}), "int8": (400, {"prose/bits_per_byte": 0.9})})
    assert (told["picked"], told["folder"], told["bytes"]) == (None, "safetensors", 1000)
    assert told["notes"] == ["The weights are shipped as they are, not quantised: no level is inside the limits."]
    assert (out / "safetensors" / "model.safetensors").read_text() == "weights "


def test_level_that_is_larger_than_the_weights_is_not_picked(tmp_path: Path) -> None:
    told, _ = choose(tmp_path, {"fp8": (1001, {}), "int8": (1000, {})})
    assert told["picked"] is None
    assert told["notes"] == [
        "The weights are shipped as they are, not quantised: no level inside the limits is smaller."
    ]


def test_first_of_equally_small_levels_is_picked(tmp_path: Path) -> None:
    assert choose(tmp_path, {"int8": (500, {}), "fp8": (500, {})})[0]["picked"] == "int8"


def test_level_that_was_measured_otherwise_is_not_compared(tmp_path: Path) -> None:
    told, _ = choose(tmp_path, {"fp8": (500, {})}, dtype="bfloat16")
    row = told["table"][1]
    assert (row["admissible"], row["drops"], told["picked"]) == (False, {}, None)
    assert row["why"] == "skill was not measured alike: dtype differs (float32 and bfloat16)"
