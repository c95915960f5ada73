"""Paired differences that are no plain yes or no: the studentised bootstrap over documents, and sign flips."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DRAWS = 10_000
_AT_ONCE = 2**21
"""Numbers drawn at a time: 16 MiB."""
_LEAST_VARIANCE = 0.01
"""Of the seen variance, added to that of every draw: a draw without spread is then an extreme one, not an infinite."""


def bootstrap(values: Floats, weights: Floats | None, alpha: float, seed: int = 0) -> tuple[float, float]:
    """Studentised bootstrap of a mean, or of a ratio of sums: sum(values) / sum(weights), both of shape (n,).

    Documents are drawn, not tokens: the tokens of one document are no independent observations. Each draw gives
    t = (its ratio - the seen one) / its standard error, and the bounds are the seen ratio minus quantiles of t times
    the seen error (bootstrap-t, Efron and Tibshirani 1993, chapter 12; the error of a ratio is the linearised one of
    Cochran 1977, Sampling Techniques, chapter 6). On either side the larger of two quantiles counts: the equal-tailed
    one, which follows skew, and that of |t|, which is right where most differences are zero.

    Of simulated 95 % intervals of 20 / 50 / 200 values so many percent missed the truth (of 2000 each; "mostly
    zero" is 80 % zeros, else normal with mean 0.5):

        values          t                   percentile          BCa                 bootstrap-t         this one
        normal           5.0  5.3 4.7        7.0  6.5 5.4        7.1  6.3 5.3        4.8  5.3 4.9        4.3  4.2 4.5
        lognormal(0, 1) 11.9 10.8 7.2       13.2 10.7 7.0       12.2  9.6 6.9        7.4  6.7 5.9        7.7  5.5 5.0
        mostly zero      14.2  8.3 5.5       17.2  9.8 5.5       19.0 10.8 6.4       14.2  9.4 5.7        5.6  5.5 4.8

    Below 20 documents it holds its level only where values are no more skewed than a lognormal (0, 0.6).
    """
    ones = np.ones_like(values) if weights is None else weights
    ratio, error = float(values.sum() / ones.sum()), ratio_error(values, ones)
    if error == 0:
        return ratio, ratio
    rest, n = values - ratio * ones, len(values)
    sums = np.stack([rest, ones, rest**2, rest * ones, ones**2], axis=1)
    least = _LEAST_VARIANCE * error**2
    t = np.concatenate([_studentised(counts @ sums, n, least) for counts in _resamples(n, seed)])
    low, high = np.quantile(t, [alpha / 2, 1 - alpha / 2])
    either = np.quantile(np.abs(t), 1 - alpha)
    scale = error * math.sqrt(1 + _LEAST_VARIANCE)
    return ratio - max(float(high), float(either)) * scale, ratio + max(float(-low), float(either)) * scale


def _studentised(sums: Floats, n: int, least: float) -> Floats:
    """t of draws (rows, 5) given as sums of the residuals e and weights w: e, w, e^2, e w, w^2."""
    e, w, ee, ew, ww = sums.T
    off = e / w
    squares = np.maximum(0.0, ee - 2 * off * ew + off**2 * ww)
    t: Floats = off / np.sqrt(squares * n / (n - 1) / w**2 + least)
    return t


def ratio_error(values: Floats, weights: Floats) -> float:
    """Standard error of a ratio of sums, linearised (Cochran 1977, Sampling Techniques, chapter 6).

    sqrt(n / (n - 1) * sum (values - ratio * weights)^2) / sum(weights); with weights of 1 that of a mean.
    """
    n = len(values)
    rest = values - weights * (values.sum() / weights.sum())
    return float(np.sqrt((rest**2).sum() * n / (n - 1)) / weights.sum())


def sign_flip(differences: Floats, seed: int = 0) -> float:
    """Two-sided p of a permutation test: without an effect each difference could as well have the other sign.

    Monte Carlo over DRAWS flips, the seen one counted in (Phipson and Smyth 2010), so that p is never 0. Exact at any
    number of differences that are symmetric about zero where there is no effect; given the sums of clusters it flips
    whole clusters.
    """
    seen = abs(float(differences.sum()))
    slack = 1e-12 * float(np.abs(differences).sum())
    hits = sum(
        int((np.abs((2.0 * flips - 1.0) @ differences) >= seen - slack).sum())
        for flips in _draws(len(differences), 2, seed)
    )
    return (1 + hits) / (1 + DRAWS)


def _resamples(n: int, seed: int) -> Iterator[Floats]:
    """How often each of n documents is in a draw: DRAWS rows, some at a time."""
    for rows in _draws(n, n, seed):
        flat = rows + n * np.arange(len(rows))[:, None]
        yield np.bincount(flat.ravel(), minlength=n * len(rows)).reshape(rows.shape).astype(np.float64)


def _draws(n: int, below: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """DRAWS rows of n integers in [0, below), some rows at a time."""
    generator, rows = np.random.default_rng(seed), max(1, _AT_ONCE // n)
    for start in range(0, DRAWS, rows):
        yield generator.integers(0, below, (min(rows, DRAWS - start), n))
