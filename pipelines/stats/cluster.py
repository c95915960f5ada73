"""Documents that belong together, such as questions on one text, are no independent observations: clustered errors."""

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.stats.student import t_quantile

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


class Spread(NamedTuple):
    """A mean, its standard error, and the degrees of freedom of that error."""

    mean: float
    stderr: float
    degrees: float


def totals(values: Floats, clusters: Codes | None) -> Floats:
    """Sums of `values` (n,) by cluster, shape (clusters,); the values themselves without clusters."""
    return values if clusters is None else np.bincount(clusters, weights=values).astype(np.float64)


def count(clusters: Codes | None) -> int | None:
    return None if clusters is None else int(clusters.max()) + 1


def clustered(values: Floats, clusters: Codes) -> Spread:
    """Mean of all documents with the CR2 error of Bell and McCaffrey 2002, Survey Methodology 28:169-181.

    With a share h_g of the n documents and a sum S_g of residuals in cluster g, SE^2 = sum_g S_g^2 / (1 - h_g) / n^2:
    what their adjustment matrices (I - H_gg)^(-1/2) come to where the model is a mean. With clusters of one size that
    is the G / (G - 1) * sum_g S_g^2 / n^2 of Miller 2024 (arXiv 2411.00640). Their degrees of freedom, by Satterthwaite
    for independent documents, come to 1 / (sum_g h_g^2 + sum_(g != k) a_g a_k) with a_g = h_g^2 / (1 - h_g), and to
    G - 1 with clusters of one size.

    Simulated, normal values, 6 to 40 clusters, correlation 0 to 0.7 within: t intervals of 95 % miss the truth in 4.1
    to 5.9 % of cases with sizes like 2, 4, 8, 16, and in up to 6.4 % where few clusters range from 1 to 40 documents.
    """
    share = np.bincount(clusters) / len(values)
    mean = float(values.mean())
    sums = totals(values - mean, clusters)
    variance = float((sums**2 / (1 - share)).sum()) / len(values) ** 2
    a = share**2 / (1 - share)
    degrees = 1 / float((share**2).sum() + a.sum() ** 2 - (a**2).sum())
    return Spread(mean, math.sqrt(variance), degrees)


def t_interval(spread: Spread, alpha: float) -> tuple[float, float]:
    reach = t_quantile(1 - alpha / 2, spread.degrees) * spread.stderr
    return spread.mean - reach, spread.mean + reach


def repeats(values: Floats, clusters: Codes | None, alpha: float) -> float:
    """How many documents say as much as one independent one: n divided by it goes into an interval of shares.

    `values` (n,) are 0 or 1, or differences of such. The design effect, clustered over unclustered variance and at
    least 1, times (t / z)^2 for the few degrees of freedom of the former, as surveys do it (Korn and Graubard 1998,
    Survey Methodology 24:193-201). 1 without clusters.

    Half a cluster of the rarer kind is added to tell the design effect by. Where few clusters have a failure the spread
    between them looks small just when their mean is too far out: simulated without it, intervals of 95 % from 12 to 40
    clusters miss shares of 0.9 and 0.95 in up to 10 % of cases. Nor is no difference at all then taken for certainty.
    """
    if clusters is None:
        return 1.0
    mean, groups = float(values.mean()), int(clusters.max()) + 1
    half = max(1, round(len(values) / groups / 2))
    rarer = math.copysign(1.0, mean) if abs(mean) < 0.5 else 0.0
    values, clusters = np.append(values, np.full(half, rarer)), np.append(clusters, np.full(half, groups))
    spread, share = clustered(values, clusters), 1 - alpha / 2
    design = max(1.0, spread.stderr**2 * len(values) / float(values.var(ddof=1)))
    return design * (t_quantile(share, spread.degrees) / NormalDist().inv_cdf(share)) ** 2
