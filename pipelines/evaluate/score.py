"""Samples and the scores made of them: a mean over samples, or a ratio of sums."""

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from pipelines.errors import Problem, UserError

MEAN, RATIO = "mean", "ratio"


class NotFinite(UserError):
    """A score that is no finite number."""


class Sample(NamedTuple):
    """What one document gave. `weight` is 1 for a mean; for a ratio it is the document's share of the denominator."""

    id: str
    doc_hash: str
    prompt: str
    target: str
    answer: str
    scores: dict[str, float]
    weight: float = 1.0
    cluster: str | int | bool | None = None


class Score(NamedTuple):
    """One number for a set of documents, with the standard error over documents and what guessing would score."""

    value: float
    n: int
    group: str
    lower_is_better: bool
    kind: str
    stderr: float
    chance: float | None = None


class Measurement(NamedTuple):
    """One measurement of a suite. `contract` is what must agree before two of them may be compared."""

    samples: list[Sample]
    scores: dict[str, Score]
    contract: dict[str, Any]
    notes: list[str]
    generation: dict[str, Any] | None = None


def not_finite(where: str, what: str, got: object) -> NotFinite:
    """The error for a number that no gate could judge."""
    fix = "Look for NaN in the model's weights, and at the loss it was trained with"
    return NotFinite(Problem(where, what, str(got), fix))


def check_finite(name: str, measurement: Measurement) -> None:
    """Weights that hold NaN give scores that are NaN. NotFinite names the first document of which that is so."""
    for sample in measurement.samples:
        for metric, number in sample.scores.items():
            if not math.isfinite(number):
                raise not_finite(f"{name}/{metric}", f"is no finite number on document {sample.id}", number)
    for metric, score in measurement.scores.items():
        if not math.isfinite(score.value):
            raise not_finite(f"{name}/{metric}", "is no finite number", score.value)


def mean_stderr(values: Sequence[float]) -> float:
    """Standard error of a mean of independent values: sd / sqrt(n). NaN-free: 0 for a single value."""
    n, mean = len(values), math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n * (n - 1))) if n > 1 else 0.0


def ratio(sums: Sequence[float], weights: Sequence[float]) -> tuple[float, float]:
    """Ratio of sums and its linearised standard error over documents (Cochran 1977, Sampling Techniques, eq. 6.13)."""
    n, total = len(sums), math.fsum(weights)
    value = math.fsum(sums) / total
    residuals = math.fsum((x - value * w) ** 2 for x, w in zip(sums, weights, strict=True))
    return value, math.sqrt(residuals * n / (n - 1)) / total if n > 1 else 0.0


def digest(items: Iterable[str]) -> str:
    """sha256 over strings in their order."""
    return hashlib.sha256(json.dumps(list(items), ensure_ascii=False).encode()).hexdigest()


def text_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
