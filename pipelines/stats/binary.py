"""Right or wrong on the same documents, twice: the interval and the test for paired proportions."""

import math
from collections.abc import Callable
from statistics import NormalDist


def tango(gained: float, lost: float, n: float, alpha: float) -> tuple[float, float]:
    """Score interval of the difference of two paired proportions, (gained - lost) / n.

    Tango 1998, Statistics in Medicine 17:891-908: all differences d for which the score test with the variance
    estimated under d does not reject. Holds its level at small n and at no discordant pair, where the normal
    interval is far too narrow. Counts need not be whole.
    """
    z = NormalDist().inv_cdf(1 - alpha / 2)
    seen = (gained - lost) / n
    low = _root(lambda d: _score(d, gained, lost, n) - z, -1.0, seen)
    high = _root(lambda d: _score(d, gained, lost, n) + z, seen, 1.0)
    return low, high


def _score(difference: float, gained: float, lost: float, n: float) -> float:
    """The score statistic; it falls in `difference`."""
    variance = n * variance_under(difference, gained / n, lost / n)
    distance = gained - lost - n * difference
    return distance / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, distance) if distance else 0.0


def variance_under(difference: float, gained: float, lost: float) -> float:
    """Variance of one document's difference were its mean this one, given shares of discordant pairs.

    `q` is the probability of a loss, most likely under `difference`.
    """
    b = (2 - gained + lost) * difference - gained - lost
    c = -lost * difference * (1 - difference)
    q = (math.sqrt(max(0.0, b * b - 8 * c)) - b) / 4
    return 2 * q + difference * (1 - difference)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a falling function crosses zero, by bisection."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) > 0 else (low, middle)
    return (low + high) / 2


def mcnemar(gained: int, lost: int) -> float:
    """Two-sided mid-p of McNemar's test: 2 P(X < k) + P(X = k) for the fewer discordant pairs k of a fair coin.

    Fagerland, Lydersen and Laake 2013, BMC Med. Res. Methodol. 13:91: the exact test is too strict, the mid-p one
    holds its level.
    """
    below, at, ways = _tosses(gained, lost)
    return min(1.0, (2 * below + at) / ways)


def mcnemar_exact(gained: int, lost: int) -> float:
    """Two-sided p of McNemar's exact test, 2 P(X <= k): never above its level, and so less often right than mid-p."""
    below, at, ways = _tosses(gained, lost)
    return min(1.0, 2 * (below + at) / ways)


def _tosses(gained: int, lost: int) -> tuple[int, int, int]:
    """Ways to toss fewer heads than seen, exactly as many, and any; whole numbers, so that nothing overflows."""
    pairs, below, at = gained + lost, 0, 1
    for k in range(min(gained, lost)):
        below += at
        at = at * (pairs - k) // (k + 1)
    return below, at, 1 << pairs


def wilson(right: float, n: float, alpha: float) -> tuple[float, float]:
    """Score interval of one proportion, right / n (Wilson 1927, J. Am. Stat. Assoc. 22:209-212).

    Counts need not be whole.
    """
    z2, share = NormalDist().inv_cdf(1 - alpha / 2) ** 2, right / n
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    reach = math.sqrt(z2 * share * (1 - share) / n + z2**2 / (4 * n**2)) / (1 + z2 / n)
    return max(0.0, middle - reach), min(1.0, middle + reach)
