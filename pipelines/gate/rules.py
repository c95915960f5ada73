"""The three-valued rules: what an interval says about a threshold."""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple


class Verdict(StrEnum):
    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


class Gain(NamedTuple):
    """A difference with its interval, turned so that up is better."""

    value: float
    low: float
    high: float


def gain(delta: float, low: float, high: float, lower_is_better: bool) -> Gain:
    return Gain(-delta, -high, -low) if lower_is_better else Gain(delta, low, high)


def improve(seen: Gain, by: float) -> Verdict:
    """PASS where the whole interval is a gain of at least `by`, FAIL where none of it is."""
    if seen.low >= by and seen.low > 0:
        return Verdict.PASS
    return Verdict.FAIL if seen.high < by or seen.high <= 0 else Verdict.INCONCLUSIVE


def no_regression(seen: Gain, margin: float, p: float, alpha: float) -> Verdict:
    """Non-inferiority: PASS where the whole interval lies above -margin, FAIL where all of it lies below.

    Without a margin a FAIL also needs `p`, adjusted for the number of gates, below `alpha`: else every further gate
    would fail one more in forty of the models that lost nothing. PASS needs no adjustment: all gates must pass
    at once, which is an intersection-union test (Berger 1982, Technometrics 24:295-300).
    """
    if seen.low >= -margin:
        return Verdict.PASS
    proven = seen.high < -margin and (margin > 0 or p < alpha)
    return Verdict.FAIL if proven else Verdict.INCONCLUSIVE


def at_least(seen: Gain, value: float) -> Verdict:
    """On the candidate's own value: PASS where the whole interval is as good as `value`, FAIL where none of it is."""
    if seen.low >= value:
        return Verdict.PASS
    return Verdict.FAIL if seen.high < value else Verdict.INCONCLUSIVE


def drift(low: float, high: float, most: float) -> Verdict:
    """Equivalence: PASS where the whole interval is within `most` of no difference, FAIL where none of it is.

    Schuirmann 1987, Journal of Pharmacokinetics and Biopharmaceutics 15:657-680. The bounds of an interval at alpha
    make it two one-sided tests at alpha / 2.
    """
    if -most <= low and high <= most:
        return Verdict.PASS
    return Verdict.FAIL if low > most or high < -most else Verdict.INCONCLUSIVE


def overall(verdicts: Sequence[Verdict]) -> Verdict:
    """FAIL if any fails, else INCONCLUSIVE if any cannot say, else PASS."""
    for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE):
        if verdict in verdicts:
            return verdict
    return Verdict.PASS
