"""Which documents the candidate answers better or worse than the base."""

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any

from pipelines.report.text import clean
from pipelines.stats.flips import flipped

EXAMPLES = 10
LONGEST = 1000

Samples = Iterable[Mapping[str, Any]]
"""Samples in the order of their file, which may be gone through more than once."""
Key = tuple[str, int]
"""A document by the hash of its content and how many of the same stood before it."""


def flips(
    base: Samples, candidate: Samples, metric: str, lower_is_better: bool, chance: float | None
) -> dict[str, Any]:
    """How many documents got worse and better, and the clearest examples of either.

    `binary` says that every score is 0 or 1, so that worse means right -> wrong. Then `worse_adjusted` and
    `better_adjusted` are the shares of documents whose turn guessing, right with `chance`, does not explain.
    """
    before, after = _scores(base, metric), _scores(candidate, metric)
    sign = -1 if lower_is_better else 1
    deltas = {key: sign * (after[key] - score) for key, score in before.items() if key in after}
    worse = sorted((key for key, delta in deltas.items() if delta < 0), key=lambda key: deltas[key])
    better = sorted((key for key, delta in deltas.items() if delta > 0), key=lambda key: -deltas[key])
    binary = all(score in (0.0, 1.0) for key in deltas for score in (before[key], after[key]))
    shown = {*worse[:EXAMPLES], *better[:EXAMPLES]}
    bases, candidates = _chosen(base, shown), _chosen(candidate, shown)
    right, kept_right = ([bool(scores[key]) != lower_is_better for key in deltas] for scores in (before, after))
    adjusted = flipped(right, kept_right, chance) if binary else None
    return {
        "n": len(deltas),
        "binary": binary,
        "worse": len(worse),
        "better": len(better),
        "worse_adjusted": adjusted and adjusted.worse_adjusted,
        "better_adjusted": adjusted and adjusted.better_adjusted,
        "worst": [_example(bases[key], candidates[key], metric) for key in worse[:EXAMPLES]],
        "best": [_example(bases[key], candidates[key], metric) for key in better[:EXAMPLES]],
    }


def keyed(samples: Samples) -> Iterator[tuple[Key, Mapping[str, Any]]]:
    """Every sample with its document. A repeated document is told apart by its place among its likes."""
    seen: Counter[str] = Counter()
    for sample in samples:
        document = str(sample["doc_hash"])
        yield (document, seen[document]), sample
        seen[document] += 1


def _scores(samples: Samples, metric: str) -> dict[Key, float]:
    return {key: float(sample["scores"][metric]) for key, sample in keyed(samples)}


def _chosen(samples: Samples, keys: Container[Key]) -> dict[Key, Mapping[str, Any]]:
    return {key: sample for key, sample in keyed(samples) if key in keys}


def _example(base: Mapping[str, Any], candidate: Mapping[str, Any], metric: str) -> dict[str, Any]:
    texts = {"id": base["id"], "prompt": base["prompt"], "target": base["target"]}
    answers = {"base": base["answer"], "candidate": candidate["answer"]}
    scores = {"base": base["scores"][metric], "candidate": candidate["scores"][metric]}
    return {key: clean(str(text), LONGEST) for key, text in texts.items()} | {
        "answers": {key: clean(str(text), LONGEST) for key, text in answers.items()},
        "scores": scores,
    }
