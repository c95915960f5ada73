"""Scores artifacts made up for the gate and select rooms."""

import json
from pathlib import Path
from typing import Any

from pipelines.engine.stage import Artifact

CONTRACT = {"torch": "2.13.0", "dtype": "float32", "batch_size": 16, "documents": "d" * 64}


def scores_artifact(
    folder: Path,
    name: str,
    values: dict[str, list[float]],
    *,
    weights: list[float] | None = None,
    clusters: list[str] | None = None,
    group: str = "target",
    lower_is_better: bool = False,
    contract: dict[str, Any] | None = None,
) -> Artifact:
    """One measurement per entry of `values`, `task/metric` to the sample values; ratios where there are weights."""
    root = folder / name
    (root / "samples").mkdir(parents=True)
    scores: dict[str, Any] = {}
    for score, numbers in values.items():
        measurement, _, metric = score.partition("/")
        heavy = weights or [1.0] * len(numbers)
        stored = {"bits_per_byte": "nll"}.get(metric, metric)
        scale = {"bits_per_byte": 0.6931471805599453}.get(metric, 1.0)
        rows = [
            {"id": str(i), "doc_hash": f"h{i}", "prompt": "", "target": "", "answer": "", "scores": {stored: x * scale}}
            | {"weight": w, "cluster": clusters[i] if clusters else None}
            for i, (x, w) in enumerate(zip(numbers, heavy, strict=True))
        ]
        (root / "samples" / f"{measurement}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        scores[score] = {
            "value": sum(numbers) / sum(heavy),
            "n": len(numbers),
            "group": group,
            "lower_is_better": lower_is_better,
            "kind": "ratio" if weights else "mean",
            "stderr": 0.1,
        }
    content = {"scores": scores, "contract": {s.partition("/")[0]: contract or CONTRACT for s in values}, "notes": []}
    (root / "scores.json").write_text(json.dumps(content))
    return Artifact(name, "scores", root, name * 8, content)
