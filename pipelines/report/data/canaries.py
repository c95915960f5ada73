"""Documents whose answers are all shown, every model's beside the others': canary prompts."""

from collections.abc import Mapping
from itertools import islice
from typing import Any

from pipelines.report.data.flips import LONGEST, Samples, keyed
from pipelines.report.text import clean

MOST = 50
"""Documents of one task that are shown."""


def canaries(samples: Mapping[str, Samples], metric: str) -> dict[str, Any]:
    """The first documents of the first model's, with the answer and the score of every model that has them.

    `samples` are one measurement's by model; `n` is how many documents there are in all.
    """
    first = next(iter(samples.values()))
    documents = {key: _document(sample) for key, sample in islice(keyed(first), MOST)}
    for model, theirs in samples.items():
        for key, sample in keyed(theirs):
            if key in documents:
                documents[key]["answers"][model] = clean(str(sample["answer"]), LONGEST)
                documents[key]["scores"][model] = sample["scores"][metric]
    return {"n": sum(1 for _ in first), "documents": list(documents.values())}


def _document(sample: Mapping[str, Any]) -> dict[str, Any]:
    texts = {key: clean(str(sample[key]), LONGEST) for key in ("id", "prompt", "target")}
    return {**texts, "answers": {}, "scores": {}}
