"""What a number of documents can see, and how many documents would see it; for plans too, before anything is scored.

The gates decide by the bounds of a two-sided interval: a gain is seen when the lower one lies above 0, a loss is ruled
out when it lies above -margin. Either is a one-sided test at alpha / 2. A margin is therefore ruled out, where there is
no true difference, as often as a true difference of the same size is seen, and one formula serves both:
n = (z_(1-alpha/2) + z_power)^2 * spread^2 / effect^2, 7.85 * spread^2 / effect^2 at alpha = 0.05. The 6.18 of textbooks
on non-inferiority belongs to one-sided tests at alpha, which is not how the gates decide. Formulas: Lachin 1981,
Controlled Clinical Trials 2:93-113.
"""

import math
from statistics import NormalDist

from pipelines.stats.binary import variance_under
from pipelines.stats.student import t_quantile

POWER = 0.8
"""How often an effect must be seen to count as detectable."""
LEAST = 6
"""Fewer documents, or clusters of them, give no interval worth the name."""
AGREEMENT = 0.7
"""Correlation of two models' right answers that is taken for granted in a plan: the upper end of the 0.3 to 0.7 that
Miller 2024 (arXiv 2411.00640) finds between unrelated models, since a model and its own tuning are no strangers."""


def detectable(spread: float, n: int, alpha: float, degrees: float = math.inf) -> float:
    """Minimum detectable effect: (q_(1-alpha/2) + q_power) * spread / sqrt(n); 2.80 * spread / sqrt(n) at 0.05.

    `spread` is the standard deviation of one document's difference; for yes-or-no scores the square root of the
    rate of discordant pairs. q are quantiles of Student's t, normal ones for infinite `degrees`.
    """
    return _reach(alpha, degrees) * spread / math.sqrt(n)


def detectable_pairs(discordant: float, n: float, alpha: float) -> float:
    """The margin that Tango's interval rules out with POWER where two models of yes-or-no scores do not differ.

    `discordant` is the share of documents on which only one of them is right. The m of `pairs_for`, by bisection; a
    gain of m is seen at least as often. With many discordant pairs it is `detectable(sqrt(discordant), n, alpha)`, with
    few more: at n = 100 and 5 % that rules out a margin of 6.3 points in 64 % of cases, not 80; this one says 8.1.
    """
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if _pairs(discordant, middle, alpha) > n else (low, middle)
    return high


def pairs_for(discordant: float, effect: float, alpha: float) -> int | None:
    """How many documents rule out a margin of `effect` in yes-or-no scores; None for an effect of zero.

    n = (z_(1-alpha/2) sqrt(v) + z_power sqrt(discordant))^2 / effect^2, where v is the variance under a loss of
    `effect`, with which Tango's score test works (Tango 1998, Statistics in Medicine 17:891-908; the form is that of
    Lachin 1981 for variances that differ under the two hypotheses). Two significant digits, rounded up.
    """
    return None if effect <= 0 else _rounded(_pairs(discordant, effect, alpha))


def _pairs(discordant: float, effect: float, alpha: float) -> float:
    normal = NormalDist()
    under = variance_under(-effect, discordant / 2, discordant / 2)
    reach = normal.inv_cdf(1 - alpha / 2) * math.sqrt(under) + normal.inv_cdf(POWER) * math.sqrt(discordant)
    return (reach / effect) ** 2


def documents_for(spread: float, effect: float, alpha: float) -> int | None:
    """How many documents detect `effect`; None for an effect of zero, which no number of documents detects.

    Two significant digits, rounded up: the spread is a guess or an estimate.
    """
    return None if effect <= 0 else _rounded((_reach(alpha, math.inf) * spread / effect) ** 2)


def documents_needed(n: int, mde: float, effect: float) -> int | None:
    """How many documents would detect `effect`, by what n detect: that falls with the square root of their number."""
    return None if effect <= 0 else _rounded(n * (mde / effect) ** 2)


def discordance(base: float = 0.5, gain: float = 0.0) -> float:
    """Guess, for a plan, of the share of documents on which only one of two models is right.

    Two yes-or-no scores with means a, b and correlation r differ with a probability of
    a (1 - b) + b (1 - a) - 2 r sqrt(a (1 - a) b (1 - b)), and never with one below |a - b|. The square root is the
    `spread` of `detectable`. A base of 0.5, the default, is the one that takes most documents.
    """
    a, b = base, min(1.0, max(0.0, base + gain))
    shared = AGREEMENT * math.sqrt(a * (1 - a) * b * (1 - b))
    return max(abs(a - b), a * (1 - b) + b * (1 - a) - 2 * shared)


def design_effect(size: float, icc: float) -> float:
    """How many documents of clusters of `size` say as much as one alone: 1 + (size - 1) * icc.

    Kish 1965, Survey Sampling. Times the documents needed, or, by its square root, times the spread.
    """
    return 1 + (size - 1) * icc


def _reach(alpha: float, degrees: float) -> float:
    quantile = NormalDist().inv_cdf if math.isinf(degrees) else lambda share: t_quantile(share, degrees)
    return quantile(1 - alpha / 2) + quantile(POWER)


def _rounded(documents: float) -> int:
    """Up to two significant digits."""
    exact = math.ceil(documents)
    step = int(10 ** max(0, len(str(exact)) - 2))
    return math.ceil(exact / step) * step
