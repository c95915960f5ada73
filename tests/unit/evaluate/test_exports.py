"""An export is measured as the folder of it that is served; a backend that is not installed is told beforehand."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from pipelines.engine.stage import Artifact
from pipelines.evaluate.check import check
from pipelines.evaluate.config import EvaluateConfig
from pipelines.evaluate.run import run
from pipelines.evaluate.subject import served
from tests import pico
from tests.unit.evaluate.conftest import choice, evaluate


def test_export_has_the_scores_of_the_model_in_its_served_folder(suite_folder: Path, pico_base: Path) -> None:
    suite = choice(suite_folder)
    whole = evaluate(pico_base, suite, suite_folder / "whole")
    shutil.copytree(pico_base, suite_folder / "export" / "safetensors")
    pico.save_model(suite_folder / "export" / "other", seed=5)
    inputs = {
        "export.ship": Artifact("export.ship", "export", suite_folder / "export", "k", {"folder": "safetensors"}),
        "base": Artifact("base", "model", pico_base, "b"),
    }
    (suite_folder / "shipped").mkdir()
    config = EvaluateConfig.model_validate({"model": "export.ship", "suite": suite})
    assert run(config, inputs, suite_folder / "shipped")["scores"] == whole["scores"]


def test_model_is_its_own_served_folder(tmp_path: Path) -> None:
    model = Artifact("m", "model", tmp_path, "k", {"folder": "elsewhere"})
    assert served(model) is model


@pytest.mark.parametrize(
    ("backend", "told"), [({"kind": "vllm"}, ["backend"]), ({"kind": "vllm", "environment": "env"}, []), ({}, [])]
)
def test_backend_that_is_not_installed_is_told_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: dict[str, Any], told: list[str]
) -> None:
    monkeypatch.setenv("BURNISH_ENVS", str(tmp_path))
    suite = {"tasks": {"any": {"task": "piqa", "metric": "acc"}}}
    asked = {"model": "m", "suite": suite, **({"backend": backend} if backend else {})}
    problems = check(EvaluateConfig.model_validate(asked))
    assert [problem.where for problem in problems] == told
    assert all("burnish doctor --install vllm" in problem.fix for problem in problems)
