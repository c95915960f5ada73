"""Paired differences that are no plain yes or no: t interval, sign flips, and the bootstrap over documents."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DRAWS = 10_000
_AT_ONCE = 2**22
"""Numbers drawn at a time: 32 MiB of indices."""


def mean_interval(values: Floats, alpha: float, seed: int = 0) -> tuple[float, float]:
    """Percentile bootstrap of a mean (Efron and Tibshirani 1993, chapter 13)."""
    return ratio_interval(values, np.ones_like(values), alpha, seed)


def sign_flip(differences: Floats, seed: int = 0) -> float:
    """Two-sided p of a permutation test: without an effect each difference could as well have the other sign.

    Monte Carlo over DRAWS flips, the seen one counted in (Phipson and Smyth 2010), so that p is never 0.
    """
    seen = abs(float(differences.sum()))
    slack = 1e-12 * float(np.abs(differences).sum())
    hits = sum(
        int((np.abs((2.0 * flips - 1.0) @ differences) >= seen - slack).sum())
        for flips in _draws(len(differences), 2, seed)
    )
    return (1 + hits) / (1 + DRAWS)


def ratio_interval(differences: Floats, weights: Floats, alpha: float, seed: int = 0) -> tuple[float, float]:
    """Percentile bootstrap over documents of a ratio of sums (Efron and Tibshirani 1993, chapter 13).

    Documents, not tokens, are drawn: the tokens of one document are no independent observations.
    """
    ratios = np.concatenate(
        [differences[rows].sum(axis=1) / weights[rows].sum(axis=1) for rows in _draws(len(weights), len(weights), seed)]
    )
    low, high = np.quantile(ratios, [alpha / 2, 1 - alpha / 2])
    return float(low), float(high)


def ratio_spread(differences: Floats, weights: Floats) -> float:
    """Standard error of a ratio of sums times sqrt(n), linearised (Cochran 1977, eq. 6.13)."""
    n = len(weights)
    residuals = differences - weights * differences.sum() / weights.sum()
    return float(np.sqrt((residuals**2).sum() / (n - 1)) / weights.mean())


def _draws(n: int, below: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """DRAWS rows of n integers in [0, below), some rows at a time."""
    generator, rows = np.random.default_rng(seed), max(1, _AT_ONCE // n)
    for start in range(0, DRAWS, rows):
        yield generator.integers(0, below, (min(rows, DRAWS - start), n))
