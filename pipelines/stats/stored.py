"""How the samples of a scores artifact hold a metric; light, because a plan reads samples too."""

import math
from collections.abc import Mapping

_STORED = {"bits_per_byte": ("nll", 1 / math.log(2)), "agreement": ("agree", 1.0)}


def stored(metric: str, scores: Mapping[str, float]) -> tuple[str, float]:
    """The key of `metric` in the `scores` of a sample, and what its number is multiplied by.

    A task of lm-eval may name a metric of its own bits_per_byte: then samples hold it by that name.
    """
    return (metric, 1.0) if metric in scores else _STORED[metric]
