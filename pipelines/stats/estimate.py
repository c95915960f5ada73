"""From the paired scores of two models to one estimate: difference, interval, p, and what could have been seen."""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from pipelines.stats.binary import mcnemar, proportion, tango
from pipelines.stats.cluster import Codes, clustered, count, repeats, t_interval, totals
from pipelines.stats.power import LEAST, detectable, detectable_pairs
from pipelines.stats.resample import Floats, bootstrap, ratio_error, sign_flip


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


def scarce(pairs: Pairs) -> str:
    """Why there are too few documents or clusters to judge by; empty where there are enough."""
    clusters = count(pairs.clusters)
    unit = "documents" if clusters is None else "clusters of documents"
    return f"fewer than {LEAST} {unit}" if too_few(len(pairs.base), clusters) else ""


def estimate(pairs: Pairs, alpha: float) -> Estimate:
    """Yes-or-no scores by Tango and McNemar, other means and ratios by the bootstrap or clustered t, and sign flips.

    Scores whose differences have one size alone are yes or no in units of it, whatever the scores are: of n equal
    differences the bootstrap would make a certainty. ValueError where there are too few documents or clusters.
    """
    n, clusters, differences = len(pairs.base), count(pairs.clusters), pairs.candidate - pairs.base
    if too_few(n, clusters):
        raise ValueError(f"{n} documents in {clusters} clusters are too few to judge")
    total = float(n) if pairs.weights is None else float(pairs.weights.sum())
    base, candidate, delta = (float(values.sum()) / total for values in (pairs.base, pairs.candidate, differences))
    if pairs.weights is not None:
        low, high, p, mde, method = _ratio(pairs, differences, alpha)
    elif size := 1.0 if shares(pairs) else _size(differences):
        low, high, p, mde, method = _shares(pairs, np.rint(differences / size), alpha)
        low, high, mde = low * size, high * size, mde * size
    else:
        low, high, p, mde, method = _mean(pairs, differences, alpha)
    return Estimate(base, candidate, delta, low, high, p, n, mde, method, clusters)


class _Seen(NamedTuple):
    low: float
    high: float
    p: float
    mde: float
    method: str


def _shares(pairs: Pairs, differences: Floats, alpha: float) -> _Seen:
    gained, lost = int((differences > 0).sum()), int((differences < 0).sum())
    alone = repeats(differences, pairs.clusters, alpha)
    n = len(differences) / alone
    low, high = tango(gained / alone, lost / alone, n, alpha)
    # Jeffreys' half pair: seeing none does not mean seeing everything.
    mde = detectable_pairs(((gained + lost) / alone + 0.5) / (n + 1), n, alpha)
    if pairs.clusters is None:
        return _Seen(low, high, mcnemar(gained, lost), mde, "Tango score interval, McNemar mid-p")
    p = sign_flip(totals(differences, pairs.clusters))
    return _Seen(low, high, p, mde, "Tango score interval with a design effect, cluster sign-flip test")


def _mean(pairs: Pairs, differences: Floats, alpha: float) -> _Seen:
    p = sign_flip(totals(differences, pairs.clusters))
    if pairs.clusters is None:
        mde = detectable(float(differences.std(ddof=1)), len(differences), alpha, len(differences) - 1)
        return _Seen(*bootstrap(differences, None, alpha), p, mde, "paired bootstrap-t interval, sign-flip test")
    spread = clustered(differences, pairs.clusters)
    mde = detectable(spread.stderr, 1, alpha, spread.degrees)
    return _Seen(*t_interval(spread, alpha), p, mde, "clustered t interval (CR2), cluster sign-flip test")


def _ratio(pairs: Pairs, differences: Floats, alpha: float) -> _Seen:
    """Documents, or clusters of them, are the units, whatever the number of their tokens or bytes."""
    assert pairs.weights is not None
    values, weights = totals(differences, pairs.clusters), totals(pairs.weights, pairs.clusters)
    unit = "document" if pairs.clusters is None else "cluster"
    if complete(pairs.base, pairs.weights) and complete(pairs.candidate, pairs.weights):
        n = len(values)
        low, high = proportion(n, n, alpha)
        mde = detectable_pairs(0.5 / (n + 1), n, alpha)
        return _Seen(low - 1, high - 1, 1.0, mde, f"Clopper-Pearson interval of {unit}s, no difference seen")
    mde = detectable(ratio_error(values, weights), 1, alpha, len(values) - 1)
    return _Seen(
        *bootstrap(values, weights, alpha), sign_flip(values), mde, f"{unit} bootstrap-t interval, sign-flip test"
    )


def _size(differences: Floats) -> float:
    """The one size that all differences have which are not zero; 0 where they have several or none is there."""
    largest = float(np.abs(differences).max())
    sizes = np.abs(differences) / largest if largest else np.full(1, 0.5)
    return largest if bool((np.isclose(sizes, 1, atol=1e-9) | np.isclose(sizes, 0, atol=1e-9)).all()) else 0.0


def shares(pairs: Pairs) -> bool:
    """Whether every score is 0 or 1; or, which says as little, in between without a difference anywhere."""
    both = np.concatenate([pairs.base, pairs.candidate])
    unmoved = bool((pairs.base == pairs.candidate).all())
    return bool(np.isin(both, (0.0, 1.0)).all() or (unmoved and both.min() >= 0 and both.max() <= 1))


def complete(values: Floats, weights: Floats) -> bool:
    """Whether a ratio is 1 on every document, as agreement on every token is: no spread, and yet no certainty."""
    return bool((values == weights).all())


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
