"""Documents that belong together, such as questions on one text, are no independent observations: clustered errors."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.stats.student import t_quantile

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


class Spread(NamedTuple):
    """Mean of n values in `clusters` clusters, its standard error, and the degrees of freedom of that error."""

    mean: float
    stderr: float
    degrees: float
    clusters: int


def totals(values: Floats, clusters: Codes | None) -> Floats:
    """Sums of `values` (n,) by cluster, shape (clusters,); the values themselves without clusters."""
    return values if clusters is None else np.bincount(clusters, weights=values).astype(np.float64)


def count(clusters: Codes | None) -> int | None:
    return None if clusters is None else int(clusters.max()) + 1


def clustered(values: Floats, clusters: Codes) -> Spread:
    """Mean of all documents with the CR2 error of Bell and McCaffrey 2002, Survey Methodology 28:169-181.

    With m_g documents and the sum S_g of residuals in cluster g, SE^2 = sum_g S_g^2 / (1 - m_g / n) / n^2: for a mean
    the adjustment matrix (I - H_gg)^(-1/2) has this closed form. With clusters of one size it is the
    G / (G - 1) * sum_g S_g^2 / n^2 of Miller 2024 (arXiv 2411.00640). Satterthwaite's degrees of freedom,
    (sum of eigenvalues)^2 / sum of their squares, need the covariance of the S_g.
    """
    n, sizes = len(values), np.bincount(clusters).astype(np.float64)
    share, mean = sizes / n, float(values.mean())
    sums = np.bincount(clusters, weights=values - mean)
    variance = float((sums**2 / (1 - share)).sum()) / n**2
    return Spread(mean, math.sqrt(variance), _degrees(share, share), len(sizes))


def _degrees(share: Floats, variance: Floats) -> float:
    """Satterthwaite's degrees of freedom where cluster g has this share of the documents and variance of its sum."""
    weight = 1 / (1 - share)
    total = variance.sum()
    diagonal = weight * (variance * (1 - 2 * share) + share**2 * total)
    a, b, c = ((weight * part).sum() for part in (variance**2, share**2, share * variance))
    off = 2 * a * b + 2 * c**2 + total**2 * b**2 - 4 * total * c * b
    own = weight**2 * (share**2 * total - 2 * share * variance) ** 2
    return float(diagonal.sum() ** 2 / (off - own.sum() + (diagonal**2).sum()))


def t_interval(spread: Spread, alpha: float) -> tuple[float, float]:
    reach = t_quantile(1 - alpha / 2, spread.degrees) * spread.stderr
    return spread.mean - reach, spread.mean + reach
