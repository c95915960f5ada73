"""Right answers that became wrong and wrong ones that became right, as seen and adjusted for lucky guesses."""

from collections.abc import Iterable
from typing import NamedTuple


class Flips(NamedTuple):
    """Of n documents `worse` went from right to wrong and `better` from wrong to right.

    The adjusted ones are shares of n, with what guessing alone explains taken off; without guessing worse / n and
    better / n.
    """

    n: int
    worse: int
    better: int
    worse_adjusted: float
    better_adjusted: float


def flipped(base: Iterable[float], candidate: Iterable[float], chance: float | None) -> Flips:
    """Flips between yes-or-no scores (0 or 1) on the same documents; `chance` is the score of a guess, None for none.

    Counting forgetting per document and adjusting it for chance is the idea of Harmon et al. 2025 (arXiv 2510.17776);
    the formula here is the classical correction for guessing, not theirs. Of all documents, (1 - right) c / (1 - c)
    are lucky guesses of a model that is right on a share `right`, and the other model is wrong on these as often as on
    the ones that this model gets wrong:
    worse_adjusted = max(0, worse / n - (1 - right_base) c / (1 - c) * both_wrong / base_wrong), and likewise better.
    """
    pairs = [(before > 0.5, after > 0.5) for before, after in zip(base, candidate, strict=True)]
    n, both_wrong = len(pairs), pairs.count((False, False))
    worse, better = pairs.count((True, False)), pairs.count((False, True))
    odds = chance / (1 - chance) if chance else 0.0
    # (1 - right) * both_wrong / wrong is both_wrong / n, for either model: one correction serves both directions.
    lucky = odds * both_wrong / n if n else 0.0
    return Flips(n, worse, better, *(max(0.0, count / n - lucky) if n else 0.0 for count in (worse, better)))
