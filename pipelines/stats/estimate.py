"""From the paired scores of two models to one estimate: difference, interval, p, and what could have been seen."""

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from pipelines.stats.binary import mcnemar, tango
from pipelines.stats.resample import Floats, ratio_interval, ratio_spread, sign_flip, t_interval

POWER = 0.8


class Pairs(NamedTuple):
    """Scores of two models on the same n documents, each of shape (n,). `weights` is None for a mean."""

    base: Floats
    candidate: Floats
    weights: Floats | None


class Estimate(NamedTuple):
    """The candidate against the base. `delta` and its interval are candidate minus base in the metric's unit.

    `mde` is the smallest true difference that a two-sided test sees with a power of 0.8.
    """

    base: float
    candidate: float
    delta: float
    low: float
    high: float
    p: float
    n: int
    mde: float
    method: str


def estimate(pairs: Pairs, alpha: float) -> Estimate:
    """Yes-or-no scores by Tango and McNemar, other means by t and sign flips, ratios by the bootstrap."""
    n, differences = len(pairs.base), pairs.candidate - pairs.base
    total = float(n) if pairs.weights is None else float(pairs.weights.sum())
    sums = float(pairs.base.sum()), float(pairs.candidate.sum()), float(differences.sum())
    base, candidate, delta = (value / total for value in sums)
    if pairs.weights is not None:
        low, high = ratio_interval(differences, pairs.weights, alpha)
        p, spread = sign_flip(differences), ratio_spread(differences, pairs.weights)
        method = "document bootstrap, sign-flip test"
    elif binary(pairs):
        gained, lost = int((differences > 0).sum()), int((differences < 0).sum())
        low, high = tango(gained, lost, n, alpha)
        p, spread = mcnemar(gained, lost), math.sqrt((gained + lost + 0.5) / (n + 1))
        method = "Tango score interval, McNemar mid-p"
    else:
        low, high = t_interval(differences, alpha)
        p, spread = sign_flip(differences), float(differences.std(ddof=1))
        method = "paired t interval, sign-flip test"
    return Estimate(base, candidate, delta, low, high, p, n, detectable(spread, n, alpha), method)


def binary(pairs: Pairs) -> bool:
    """Whether every score is 0 or 1."""
    return bool(np.isin(pairs.base, (0.0, 1.0)).all() and np.isin(pairs.candidate, (0.0, 1.0)).all())


def detectable(spread: float, n: int, alpha: float) -> float:
    """Minimum detectable effect: (z_(1-alpha/2) + z_power) * spread / sqrt(n); 2.80 * spread / sqrt(n) at 0.05.

    `spread` is the standard deviation of one document's difference; for yes-or-no scores the square root of the
    rate of discordant pairs, with Jeffreys' half pair so that seeing none does not mean seeing everything.
    """
    normal = NormalDist()
    return (normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(POWER)) * spread / math.sqrt(n)


def documents_needed(n: int, mde: float, effect: float) -> int | None:
    """How many documents would detect `effect`: the effect that is detectable falls with the square root of n.

    Two significant digits, rounded up; None for an effect of zero, which no number of documents detects.
    """
    if effect <= 0:
        return None
    exact = math.ceil(n * (mde / effect) ** 2)
    step = int(10 ** max(0, len(str(exact)) - 2))
    return math.ceil(exact / step) * step
