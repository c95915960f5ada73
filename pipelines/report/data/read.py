"""What the report needs of the artifacts' folders beside their metrics: records, samples, what a verification saw."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.engine.stage import Artifact, Inputs
from pipelines.engine.store import RECORD, Record
from pipelines.report.config import ReportConfig
from pipelines.stats.scores import Scores

VERIFICATION = "verification.json"


class Lines:
    """The objects of a JSONL file, read anew each time that they are gone through: none of them is held."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __iter__(self) -> Iterator[dict[str, Any]]:
        with self.path.open(encoding="utf-8") as lines:
            yield from map(json.loads, lines)


class Found(NamedTuple):
    """`scores` and `samples` by suite and model, `samples` by measurement below that; the rest by reference."""

    records: Mapping[str, Record] = {}
    checks: Mapping[str, list[dict[str, Any]]] = {}
    warnings: Mapping[str, list[dict[str, Any]]] = {}
    scores: Mapping[str, Mapping[str, Scores]] = {}
    samples: Mapping[str, Mapping[str, Mapping[str, Lines]]] = {}


def read(config: ReportConfig, inputs: Inputs) -> Found:
    """Everything but the samples, which are read when they are gone through."""
    records = {str(ref): artifact.path / RECORD for ref, artifact in inputs.items()}
    files = {str(ref): artifact.path / VERIFICATION for ref, artifact in inputs.items()}
    verified = {ref: _json(path) for ref, path in files.items() if path.is_file()}
    scores = {
        suite: {model: inputs[ref] for model, ref in models.items() if ref in inputs}
        for suite, models in config.scores.items()
    }
    return Found(
        {ref: Record(**_json(path)) for ref, path in records.items() if path.is_file()},
        {ref: found["checks"] for ref, found in verified.items()},
        {ref: found.get("warnings", []) for ref, found in verified.items()},
        {suite: {model: _scores(item) for model, item in models.items()} for suite, models in scores.items()},
        {suite: {model: _samples(item.path) for model, item in models.items()} for suite, models in scores.items()},
    )


def _scores(artifact: Artifact) -> Scores:
    """The scores artifact; its metrics are scores.json."""
    return Scores(artifact.path, artifact.metrics["scores"], artifact.metrics["contract"])


def _samples(folder: Path) -> dict[str, Lines]:
    return {path.stem: Lines(path) for path in sorted((folder / "samples").glob("*.jsonl"))}


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
