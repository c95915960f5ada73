"""The statistics against published values, independent computations and simulation."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize_scalar

from pipelines.stats.binary import mcnemar, tango
from pipelines.stats.cluster import clustered, t_interval
from pipelines.stats.estimate import Pairs, estimate
from pipelines.stats.power import detectable, documents_needed
from pipelines.stats.resample import bootstrap, ratio_error, sign_flip
from pipelines.stats.student import t_quantile


def pairs(base, candidate, weights=None) -> Pairs:
    floats = [np.array(values, dtype=np.float64) for values in (base, candidate)]
    return Pairs(floats[0], floats[1], None if weights is None else np.array(weights, dtype=np.float64))


@pytest.mark.parametrize("n", [5, 10, 100, 2000])
def test_tango_has_its_closed_form_where_all_pairs_agree_or_all_are_gained(n):
    """Without a discordant pair the variance is d (1 - d) n; with all of them gained it is (1 - d) (1 + d) n."""
    z2 = stats.norm.ppf(0.975) ** 2
    assert tango(0, 0, n, 0.05) == pytest.approx((-z2 / (n + z2), z2 / (n + z2)), abs=1e-9)
    assert tango(n, 0, n, 0.05) == pytest.approx(((n - z2) / (n + z2), 1.0), abs=1e-9)


@pytest.mark.parametrize(("gained", "lost", "n"), [(12, 2, 50), (1, 9, 40), (30, 30, 200), (0, 5, 60), (3, 0, 25)])
def test_tango_bounds_are_where_the_score_test_rejects(gained, lost, n):
    """The likelihood is maximised by brute force, not by the formula of the paper."""
    z = stats.norm.ppf(0.975)
    for bound, sign in zip(tango(gained, lost, n, 0.05), (1, -1), strict=True):
        least, most = max(0.0, -bound) + 1e-12, (1 - bound) / 2 - 1e-12

        def loss(q, d=bound):
            cells = ((gained, q + d), (lost, q), (n - gained - lost, 1 - 2 * q - d))
            return -sum(k * math.log(p) for k, p in cells if k)

        q = minimize_scalar(loss, bounds=(least, most), method="bounded", options={"xatol": 1e-12}).x
        score = (gained - lost - n * bound) / math.sqrt(n * (2 * q + bound * (1 - bound)))
        assert score == pytest.approx(sign * z, abs=2e-3)


def test_tango_is_symmetric_and_holds_the_difference():
    low, high = tango(12, 5, 100, 0.05)
    assert tango(5, 12, 100, 0.05) == pytest.approx((-high, -low))
    assert low < 0.07 < high


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (1, 0), (7, 7), (9, 2), (2, 9), (40, 21)])
def test_mcnemar_is_the_mid_p_of_the_binomial_test(gained, lost):
    fewer, n = min(gained, lost), gained + lost
    tail = stats.binom.cdf(fewer - 1, n, 0.5) + 0.5 * stats.binom.pmf(fewer, n, 0.5)
    assert mcnemar(gained, lost) == pytest.approx(min(1.0, 2 * tail), rel=1e-12)


def test_mcnemar_of_thousands_of_pairs_does_not_overflow():
    assert 0.0 <= mcnemar(3000, 2000) < 1e-40
    assert mcnemar(2500, 2500) == 1.0


@pytest.mark.parametrize("degrees", [5, 9, 30, 1000])
@pytest.mark.parametrize("probability", [0.9, 0.95, 0.975, 0.995])
def test_t_quantile_agrees_with_scipy(degrees, probability):
    assert t_quantile(probability, degrees) == pytest.approx(stats.t.ppf(probability, degrees), rel=2e-3)


def test_clustered_interval_of_documents_alone_is_the_t_interval():
    values = np.random.default_rng(0).normal(0.3, 1, 40)
    theirs = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert t_interval(clustered(values, np.arange(40)), 0.05) == pytest.approx((theirs.low, theirs.high), rel=1e-4)


def test_sign_flip_agrees_with_all_flips():
    values = np.random.default_rng(1).normal(0.4, 1, 12)
    flips = np.array(list(itertools.product((-1, 1), repeat=12)))
    exact = (np.abs(flips @ values) >= abs(values.sum()) - 1e-9).mean()
    assert sign_flip(values) == pytest.approx(exact, abs=0.015)
    assert sign_flip(np.zeros(9)) == 1.0


def test_ratio_interval_is_seeded_and_agrees_with_the_linearised_error():
    generator = np.random.default_rng(2)
    weights = generator.uniform(100, 900, 150)
    values = weights * generator.normal(0.05, 0.1, 150)
    low, high = bootstrap(values, weights, 0.05)
    assert (low, high) == bootstrap(values, weights, 0.05)
    assert (high - low) / 2 == pytest.approx(1.96 * ratio_error(values, weights), rel=0.05)


@pytest.mark.parametrize("weights", [None, [10.0, 20.0, 30.0, 5.0, 8.0, 9.0]])
@pytest.mark.parametrize("values", [[0, 1, 1, 0, 1, 0], [0.2, 0.5, 0.1, 0.9, 0.4, 0.3]])
def test_base_against_itself_differs_by_exactly_zero(values, weights):
    seen = estimate(pairs(values, values, weights), 0.05)
    assert seen.delta == 0.0 and seen.p == 1.0
    assert seen.low <= 0.0 <= seen.high


def test_estimate_of_a_ratio_is_a_ratio_of_sums():
    seen = estimate(pairs([10, 20, 30, 10, 5, 5], [12, 20, 33, 10, 10, 5], [5, 10, 15, 5, 2, 3]), 0.05)
    assert (seen.base, seen.candidate, seen.delta) == (2.0, 2.25, 0.25)


@pytest.mark.parametrize(
    ("rate", "n", "points"), [(0.05, 100, 6.3), (0.1, 200, 6.3), (0.2, 500, 5.6), (0.1, 14042, 0.75)]
)
def test_detectable_effect_follows_the_table_of_discordance(rate, n, points):
    assert 100 * detectable(math.sqrt(rate), n, 0.05) == pytest.approx(points, abs=0.06)


def test_documents_needed_grow_with_the_square_of_the_precision():
    assert documents_needed(100, 0.09, 0.03) == 900
    assert documents_needed(100, 0.0885, 0.02) == 2000
    assert documents_needed(100, 0.09, 0.0) is None


def draw_pairs(generator, n, gain, loss):
    """Yes-or-no scores of which each document gains or loses with the given probability."""
    kind = generator.choice(4, n, p=[gain, loss, (1 - gain - loss) / 2, (1 - gain - loss) / 2])
    return pairs(np.isin(kind, (1, 2)), np.isin(kind, (0, 2)))


def test_estimate_picks_its_method_by_the_scores():
    generator = np.random.default_rng(5)
    assert "Tango" in estimate(draw_pairs(generator, 50, 0.2, 0.1), 0.05).method
    assert "paired bootstrap-t" in estimate(pairs([0.5, 1, 0, 1, 0, 1], [1, 1, 0, 0.5, 0, 0]), 0.05).method
    assert "bootstrap" in estimate(pairs([1, 2, 3, 4, 5, 5], [1, 2, 3, 4, 6, 4], [1, 1, 2, 2, 3, 3]), 0.05).method
