"""From the paired scores of two models to one estimate: difference, interval, p, and what could have been seen."""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from pipelines.stats.binary import mcnemar, tango
from pipelines.stats.cluster import Codes, clustered, count, t_interval, totals
from pipelines.stats.power import detectable, documents_needed
from pipelines.stats.resample import Floats, mean_interval, ratio_interval, ratio_spread, sign_flip

__all__ = ["LEAST", "Estimate", "Pairs", "binary", "detectable", "documents_needed", "estimate", "macro", "too_few"]

LEAST = 6
"""Fewer documents, or clusters of them, give no interval worth the name."""


class Pairs(NamedTuple):
    """Scores of two models on the same n documents, each of shape (n,). Without `weights` the metric is a mean.

    `clusters` numbers the clusters of the documents from 0 on; None where every document stands for itself.
    """

    base: Floats
    candidate: Floats
    weights: Floats | None = None
    clusters: Codes | None = None


class Estimate(NamedTuple):
    """The candidate against the base. `delta` and its interval are candidate minus base in the metric's unit.

    `mde` is the smallest true difference that a two-sided test sees with a power of 0.8; `clusters` their number, None
    where every document stands for itself.
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
    clusters: int | None


def too_few(n: int, clusters: int | None) -> bool:
    """Whether there are fewer than LEAST independent units."""
    return (n if clusters is None else clusters) < LEAST


def estimate(pairs: Pairs, alpha: float) -> Estimate:
    """Yes-or-no scores by Tango and McNemar, other means by t and sign flips, ratios by the bootstrap."""
    n, differences = len(pairs.base), pairs.candidate - pairs.base
    clusters = count(pairs.clusters)
    if too_few(n, clusters):
        raise ValueError(f"{n} documents in {clusters} clusters are too few to judge")
    total = float(n) if pairs.weights is None else float(pairs.weights.sum())
    sums = float(pairs.base.sum()), float(pairs.candidate.sum()), float(differences.sum())
    base, candidate, delta = (value / total for value in sums)
    units = totals(differences, pairs.clusters)
    if pairs.weights is not None:
        weights = totals(pairs.weights, pairs.clusters)
        low, high = ratio_interval(units, weights, alpha)
        p, mde = sign_flip(units), detectable(ratio_spread(units, weights), len(units), alpha)
        method = "document bootstrap, sign-flip test"
    elif pairs.clusters is not None:
        spread = clustered(differences, pairs.clusters)
        low, high = t_interval(spread, alpha)
        p, mde = sign_flip(units), detectable(spread.stderr, 1, alpha, spread.degrees)
        method = "clustered t interval (CR2), cluster sign-flip test"
    elif binary(pairs):
        gained, lost = int((differences > 0).sum()), int((differences < 0).sum())
        low, high = tango(gained, lost, n, alpha)
        p, mde = mcnemar(gained, lost), detectable(math.sqrt((gained + lost + 0.5) / (n + 1)), n, alpha)
        method = "Tango score interval, McNemar mid-p"
    else:
        low, high = mean_interval(differences, alpha)
        p, mde = sign_flip(differences), detectable(float(differences.std(ddof=1)), n, alpha)
        method = "paired bootstrap, sign-flip test"
    return Estimate(base, candidate, delta, low, high, p, n, mde, method, clusters)


def binary(pairs: Pairs) -> bool:
    """Whether every score is 0 or 1."""
    return bool(np.isin(pairs.base, (0.0, 1.0)).all() and np.isin(pairs.candidate, (0.0, 1.0)).all())


def macro(estimates: Sequence[Estimate], alpha: float) -> Estimate:
    """Mean over K tasks, all equally heavy; `estimates` are of different documents and made with the same alpha.

    SE = sqrt(sum SE_k^2) / K, with the distance of each task's own bound in the place of its SE_k: the MOVER of Zou
    and Donner 2008, Statistics in Medicine 27:1693-1702. So a task keeps the interval that is right for its scores and
    their number, and one task alone gives its own. p is that of a normal statistic whose interval is this one.
    """
    k = len(estimates)
    base, candidate, delta = (sum(values) / k for values in zip(*[one[:3] for one in estimates], strict=True))
    below = math.sqrt(sum((one.delta - one.low) ** 2 for one in estimates)) / k
    above = math.sqrt(sum((one.high - one.delta) ** 2 for one in estimates)) / k
    towards = below if delta > 0 else above
    z = NormalDist().inv_cdf(1 - alpha / 2) * abs(delta) / towards if delta else 0.0
    mde = math.sqrt(sum(one.mde**2 for one in estimates)) / k
    units = sum(one.n if one.clusters is None else one.clusters for one in estimates)
    clusters = None if all(one.clusters is None for one in estimates) else units
    p = 2 * NormalDist().cdf(-z)
    n = sum(one.n for one in estimates)
    return Estimate(
        base, candidate, delta, delta - below, delta + above, p, n, mde, f"mean of {k} scores (MOVER)", clusters
    )
