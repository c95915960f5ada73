"""Which documents the candidate answers better or worse than the base."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pipelines.report.text import clean

EXAMPLES = 10
_LONGEST = 1000

Samples = Sequence[Mapping[str, Any]]


class Pair(NamedTuple):
    """One document under both models, and the candidate's score less the base's."""

    base: Mapping[str, Any]
    candidate: Mapping[str, Any]
    delta: float


def pairs(base: Samples, candidate: Samples, metric: str) -> list[Pair]:
    """The documents that both models answered, in the base's order. A repeated document is paired in order."""
    others = dict(_keyed(candidate))
    return [
        Pair(sample, others[key], float(others[key]["scores"][metric]) - float(sample["scores"][metric]))
        for key, sample in _keyed(base)
        if key in others
    ]


def flips(base: Samples, candidate: Samples, metric: str, lower_is_better: bool) -> dict[str, Any]:
    """How many documents got worse and better, and the clearest examples of either.

    `binary` says that every score is 0 or 1, so that worse means right -> wrong.
    """
    found = pairs(base, candidate, metric)
    sign = -1 if lower_is_better else 1
    worse = sorted((pair for pair in found if sign * pair.delta < 0), key=lambda pair: sign * pair.delta)
    better = sorted((pair for pair in found if sign * pair.delta > 0), key=lambda pair: -sign * pair.delta)
    return {
        "n": len(found),
        "binary": all(float(s["scores"][metric]) in (0.0, 1.0) for pair in found for s in pair[:2]),
        "worse": len(worse),
        "better": len(better),
        "worst": [_example(pair, metric) for pair in worse[:EXAMPLES]],
        "best": [_example(pair, metric) for pair in better[:EXAMPLES]],
    }


def _keyed(samples: Samples) -> Iterator[tuple[tuple[str, int], Mapping[str, Any]]]:
    seen: Counter[str] = Counter()
    for sample in samples:
        document = str(sample["doc_hash"])
        yield (document, seen[document]), sample
        seen[document] += 1


def _example(pair: Pair, metric: str) -> dict[str, Any]:
    texts = {"id": pair.base["id"], "prompt": pair.base["prompt"], "target": pair.base["target"]}
    answers = {"base": pair.base["answer"], "candidate": pair.candidate["answer"]}
    scores = {"base": pair.base["scores"][metric], "candidate": pair.candidate["scores"][metric]}
    return {key: clean(str(text), _LONGEST) for key, text in texts.items()} | {
        "answers": {key: clean(str(text), _LONGEST) for key, text in answers.items()},
        "scores": scores,
    }
