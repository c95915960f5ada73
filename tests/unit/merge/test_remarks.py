"""What a merge says of models that are fine but hardly meant: doubles, copies of the base, adapters of another base."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.merge.config import MergeConfig
from pipelines.merge.plan import plan
from pipelines.merge.remarks import remarks
from pipelines.merge.run import run
from tests.pico import save_tuned
from tests.unit.merge.models import artifact, edited, merged

LINEAR = {"kind": "linear"}


@pytest.fixture(scope="module")
def near(tmp_path_factory: pytest.TempPathFactory, pico_base: Path) -> Path:
    """A model as far from the base as a fine-tune."""
    return save_tuned(pico_base, tmp_path_factory.mktemp("near") / "near", seed=1, scale=0.002)


def test_models_that_are_what_they_seem_are_not_remarked(pico_base: Path, near: Path, tmp_path: Path) -> None:
    _, metrics = merged(tmp_path / "out", pico_base, {near: 1.0})
    assert metrics["notes"] == []


def test_model_that_is_merged_twice_is_noted(pico_base: Path, near: Path, tmp_path: Path) -> None:
    _, metrics = merged(tmp_path / "out", pico_base, [(near, 1.0), (near, 1.0)])
    assert metrics["notes"] == ["near is merged 2 times"]


def test_model_under_two_names_is_noted(pico_base: Path, near: Path, tmp_path: Path) -> None:
    inputs = {"base": artifact(pico_base), "a": artifact(near), "b": replace(artifact(near), name="other")}
    config = MergeConfig.model_validate({"models": [{"use": "a"}, {"use": "b"}], "method": LINEAR})
    (out := tmp_path / "out").mkdir()
    assert run(config, inputs, out)["notes"] == ["near and other are the same model"]


def test_copy_of_the_base_is_noted_and_so_is_the_base_as_the_result(pico_base: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(pico_base, tmp_path / "copy")
    _, metrics = merged(tmp_path / "out", pico_base, {copy: 1.0}, method={"kind": "ties"})
    assert metrics["notes"] == [
        "copy has the same matrices as base, so there is next to nothing in it to merge",
        "what was made is base, bit for bit",
    ]


def test_base_that_is_a_model_of_its_own_accord_is_not_remarked(pico_base: Path, near: Path, tmp_path: Path) -> None:
    inputs = {"base": artifact(pico_base), "one": artifact(near)}
    config = MergeConfig.model_validate({"models": [{"use": "base"}, {"use": "one"}], "method": LINEAR})
    (out := tmp_path / "out").mkdir()
    assert run(config, inputs, out)["notes"] == []


@pytest.mark.parametrize(
    ("source", "named", "shown"),
    [
        ("hub org/base@0123", "org/other", "org/other"),
        ("hub org/base@0123", "/home/me/models/other", "other"),
        ("hub org/base@0123", "C:\\models\\other", "other"),
        ("folder base-7b", "org/other", "org/other"),
        ("hub org/base@0123", "Org/Base", ""),
        ("hub org/base-7b@0123", "/home/me/base-7b/", ""),
        ("hub org/base-7b@0123", "base", ""),
        ("wheel base==1.0", "org/other", ""),
        ("hub org/base@0123", "", ""),
    ],
)
def test_adapter_that_names_another_base_is_noted(
    pico_base: Path, lora: Path, tmp_path: Path, source: str, named: str, shown: str
) -> None:
    settings: dict[str, Any] = json.loads((lora / "adapter_config.json").read_text())
    adapter = shutil.copytree(lora, tmp_path / "adapter")
    (adapter / "adapter_config.json").write_text(json.dumps(settings | {"base_model_name_or_path": named}))
    base = replace(artifact(pico_base), metrics={"source": source})
    opened = plan(base, [artifact(adapter, "adapter")], [1.0], "keep")
    told = remarks(base, opened.members, [0.1])
    assert len(told) == bool(shown)
    assert all(
        note.startswith(f"adapter says that it was trained on {shown}, and it is merged on base") for note in told
    )


def test_broken_model_of_weight_0_is_noted_and_has_no_ratio(pico_base: Path, pico_tuned, tmp_path: Path) -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    odd = edited(pico_base, tmp_path / "odd", lambda w: w | {name: torch.full_like(w[name], torch.nan)})
    _, metrics = merged(tmp_path / "out", pico_base, {odd: 0.0, pico_tuned[0]: 1.0})
    assert json.loads(json.dumps(metrics, allow_nan=False))["models"][0]["delta_norm_ratio"] is None
    assert "odd holds NaN or infinite values, which only a weight of 0 keeps out of a merge" in metrics["notes"]
