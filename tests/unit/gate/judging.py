"""Verdicts over scores artifacts that were made up."""

import json
from pathlib import Path
from typing import Any

from pipelines.engine.stage import Artifact
from pipelines.gate.config import Gate, GateConfig
from pipelines.gate.run import run
from tests.unit.stats.scores import scores_artifact


def judge(
    folder: Path, base: Artifact | None, candidate: Artifact, *gates: dict[str, Any], seeds: tuple[Artifact, ...] = ()
) -> dict[str, Any]:
    """The verdict, which must be what is written; without a base where there is none."""
    config = GateConfig(
        candidate={"test": candidate.name},
        base={"test": base.name} if base else {},
        seeds={"test": tuple(seed.name for seed in seeds)} if seeds else {},
        gates=tuple(Gate(**gate) for gate in gates),
    )
    out = folder / "out"
    out.mkdir(exist_ok=True)
    verdict = run(config, {one.name: one for one in (base, candidate, *seeds) if one}, out)
    assert verdict == json.loads((out / "verdict.json").read_text())
    return verdict


def answers(right: int, n: int = 150) -> list[float]:
    """So many right answers, then wrong ones."""
    return [1.0] * right + [0.0] * (n - right)


def compare(
    folder: Path,
    before: list[float],
    after: list[float],
    gate: dict[str, Any],
    metric: str = "tickets/exact_match",
    **made: Any,
) -> dict[str, Any]:
    """The verdict of one gate on one score."""
    base = scores_artifact(folder, "base", {metric: before}, **made)
    candidate = scores_artifact(folder, "evaluate.best@test", {metric: after}, **made)
    return judge(folder, base, candidate, {"metric": metric} | gate)
