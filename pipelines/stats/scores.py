"""Scores of two models brought together document by document, or the reason why they cannot be."""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipelines.errors import wrong
from pipelines.stats.cluster import Codes
from pipelines.stats.estimate import Pairs
from pipelines.stats.stored import stored

_NUMBERS = ("doc_hash", "weight", "cluster", "scores")

_TOLD = ("tokenizer",)
"""What a contract names without forbidding a comparison where it differs: a tuned model may have its own."""


class Scores(NamedTuple):
    """A scores artifact: its folder and its scores.json."""

    folder: Path
    scores: dict[str, dict[str, Any]]
    contract: dict[str, dict[str, Any]]


def read_scores(folder: Path) -> Scores:
    content = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    return Scores(folder, content["scores"], content["contract"])


def pair(base: Scores, candidate: Scores, name: str) -> Pairs | str:
    """Both models' numbers on the same documents, or what differs between the two measurements.

    What differs may be a setting, the documents or the prompts: then a difference of the scores means nothing.
    """
    measurement, _, metric = name.partition("/")
    if name not in base.scores:
        return "the base has no such score"
    if differs := differences(base.contract[measurement], candidate.contract[measurement]):
        return differs
    before, after = (_read(scores.folder, measurement) for scores in (base, candidate))
    if [row["doc_hash"] for row in before] != [row["doc_hash"] for row in after]:
        return "the documents differ"
    for key in ("weight", "cluster"):
        if [row[key] for row in before] != [row[key] for row in after]:
            return f"the {key}s of the documents differ"
    weights = np.array([row["weight"] for row in before], dtype=np.float64)
    ratio = candidate.scores[name]["kind"] == "ratio"
    clusters = _codes([row["cluster"] for row in before])
    pairs = Pairs(_values(before, metric), _values(after, metric), weights if ratio else None, clusters)
    for scores, values in ((base, pairs.base), (candidate, pairs.candidate)):
        _check(scores, name, float(values.sum() / (weights.sum() if ratio else len(values))))
    return pairs


def differences(base: dict[str, Any], candidate: dict[str, Any]) -> str:
    """What two contracts do not agree in, in words; nothing where their scores can be compared."""
    keys = [key for key in {**base, **candidate} if base.get(key) != candidate.get(key) and key not in _TOLD]
    return ", ".join(f"{key} differs ({_short(base.get(key))} and {_short(candidate.get(key))})" for key in keys)


def _short(value: Any) -> str:
    """A digest by its first digits."""
    return str(value)[:12] if isinstance(value, str) and len(value) == 64 else str(value)


def _read(folder: Path, measurement: str) -> list[dict[str, Any]]:
    """The samples without their texts, of which there may be gigabytes."""
    with (folder / "samples" / f"{measurement}.jsonl").open(encoding="utf-8") as lines:
        return [{key: row[key] for key in _NUMBERS} for row in map(json.loads, lines)]


def _values(rows: list[dict[str, Any]], metric: str) -> Any:
    key, scale = stored(metric, rows[0]["scores"]) if rows else (metric, 1.0)
    return np.array([row["scores"][key] * scale for row in rows], dtype=np.float64)


def _codes(clusters: list[Any]) -> Codes | None:
    """Clusters numbered in the order in which they come; None where every document has its own, or none has any.

    A document without a cluster among others that have one stands for itself.
    """
    numbers: dict[Any, int] = {}
    names = [("row", i) if name is None else ("cluster", json.dumps(name)) for i, name in enumerate(clusters)]
    codes = [numbers.setdefault(name, len(numbers)) for name in names]
    return None if len(numbers) == len(codes) else np.array(codes, dtype=np.int64)


def _check(scores: Scores, name: str, value: float) -> None:
    """The samples must give the score that is printed beside them."""
    said = scores.scores[name]["value"]
    if not math.isclose(said, value, rel_tol=1e-9, abs_tol=1e-12):
        raise wrong(name, "scores.json and its samples disagree", f"{said} and {value}", "Measure the model again")
