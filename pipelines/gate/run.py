"""The gate stage: every gate judged on paired samples, one verdict over all of them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.engine.stage import Inputs, ScoresRef
from pipelines.gate.config import GateConfig
from pipelines.gate.evidence import evidence
from pipelines.gate.judge import judged
from pipelines.gate.rows import Measured, rows
from pipelines.gate.rules import Verdict, overall
from pipelines.stats.multiple import holm
from pipelines.stats.scores import Scores, read_scores


def run(config: GateConfig, inputs: Inputs, out_dir: Path) -> dict[str, Any]:
    """Fill `out_dir` with verdict.json; the metrics are the same object.

    Two measurements that do not agree in their contracts are no evidence: such a gate fails, and says what differs.
    """
    measured = {suite: _measured(config, suite, inputs) for suite in config.candidate}
    asked = rows(config.gates, measured)
    seen = [evidence(row, measured[row.gate.suite]) for row in asked]
    adjusted = iter(holm([one.p for one in seen if one.p is not None]))
    gates = [
        judged(row, measured[row.gate.suite], one, None if one.p is None else next(adjusted))
        for row, one in zip(asked, seen, strict=True)
    ]
    verdicts = [Verdict(gate["verdict"]) for gate in gates]
    blocks = any(
        verdict == Verdict.FAIL or (verdict == Verdict.INCONCLUSIVE and row.gate.on_inconclusive == "fail")
        for verdict, row in zip(verdicts, asked, strict=True)
    )
    names = sorted({_model(inputs[ref].name) for ref in config.candidate.values()})
    result = {"verdict": overall(verdicts), "blocks": blocks, "candidate": ", ".join(names), "gates": gates}
    text = json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False)
    (out_dir / "verdict.json").write_text(text + "\n", encoding="utf-8")
    return result


def _measured(config: GateConfig, suite: str, inputs: Inputs) -> Measured:
    base, candidate = config.base.get(suite), inputs[config.candidate[suite]]
    seeds = dict(_seeds(config.seeds.get(suite, ()), candidate.key, inputs))
    return Measured(read_scores(inputs[base].path) if base else None, read_scores(candidate.path), seeds)


def _seeds(refs: tuple[ScoresRef, ...], candidate: str, inputs: Inputs) -> Iterator[tuple[str, Scores | str]]:
    """The scores of models made with other seeds. One that is the same model as another says nothing of seeds."""
    known = {candidate: "the candidate"}
    for ref in refs:
        artifact = inputs[ref]
        name, same = _model(artifact.name), known.get(artifact.key)
        known[artifact.key] = name
        yield name, f"{name} is the same model as {same}" if same else read_scores(artifact.path)


def _model(scores: str) -> str:
    """The model in the name of its scores: best in evaluate.best@test."""
    return scores.removeprefix("evaluate.").partition("@")[0]
