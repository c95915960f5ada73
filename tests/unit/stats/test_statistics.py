"""The statistics against published values, independent computations and simulation."""

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize_scalar

from pipelines.stats.binary import mcnemar, mcnemar_exact, proportion, tango
from pipelines.stats.cluster import clustered, t_interval
from pipelines.stats.estimate import Pairs, estimate, macro
from pipelines.stats.level import level
from pipelines.stats.power import (
    design_effect,
    detectable,
    detectable_pairs,
    discordance,
    documents_for,
    documents_needed,
    pairs_for,
)
from pipelines.stats.resample import bootstrap, ratio_error, sign_flip
from pipelines.stats.seeds import over_seeds
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


def test_student_quantiles_are_those_of_scipy_at_few_and_broken_degrees():
    for degrees in (1, 1.7, 2, 3.3):
        assert t_quantile(0.975, degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-5)
    assert t_quantile(0.2, 3) == pytest.approx(-t_quantile(0.8, 3))


@pytest.mark.parametrize(("right", "n"), [(0, 8), (8, 8), (3, 20), (19.4, 20.5), (13000, 14042)])
def test_proportion_bounds_are_quantiles_of_beta_distributions(right, n):
    low, high = proportion(right, n, 0.05)
    assert low == pytest.approx(stats.beta.ppf(0.025, right, n - right + 1) if right else 0, abs=1e-9)
    assert high == pytest.approx(stats.beta.ppf(0.975, right + 1, n - right) if right < n else 1, abs=1e-9)


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (9, 2), (4, 11), (6, 6)])
def test_exact_mcnemar_is_the_binomial_test_and_never_below_mid_p(gained, lost):
    exact = stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert mcnemar_exact(gained, lost) == pytest.approx(exact)
    assert mcnemar_exact(gained, lost) >= mcnemar(gained, lost)


def test_clustered_error_and_degrees_are_those_of_the_matrices_of_bell_and_mccaffrey():
    generator = np.random.default_rng(6)
    codes = np.repeat(np.arange(5), [1, 2, 4, 7, 3])
    values, n = generator.normal(size=17), 17
    residuals = np.eye(n) - 1 / n
    rows = []
    for g in range(5):
        own = codes == g
        hat = np.full((own.sum(), own.sum()), 1 / n)
        eigenvalues, vectors = np.linalg.eigh(np.eye(own.sum()) - hat)
        adjusted = vectors @ np.diag(eigenvalues**-0.5) @ vectors.T
        rows.append(np.ones(own.sum()) @ adjusted @ residuals[own] / n)
    contrasts = np.array(rows)
    covariance = contrasts @ contrasts.T
    seen = clustered(values, codes)
    assert seen.stderr**2 == pytest.approx(((contrasts @ values) ** 2).sum())
    assert seen.degrees == pytest.approx(np.trace(covariance) ** 2 / np.trace(covariance @ covariance))


def test_clustered_error_of_equal_clusters_is_that_of_miller():
    values, codes = np.random.default_rng(7).normal(size=24), np.repeat(np.arange(6), 4)
    sums = (values - values.mean()).reshape(6, 4).sum(axis=1)
    seen = clustered(values, codes)
    assert seen.stderr == pytest.approx(math.sqrt(6 / 5 * (sums**2).sum()) / 24)
    assert seen.degrees == pytest.approx(5)


def test_clustered_shares_without_a_difference_are_less_certain_than_as_many_documents():
    ones, codes = np.ones(48), np.repeat(np.arange(8), 6)
    clustered_seen = estimate(Pairs(ones, ones, None, codes), 0.05)
    assert clustered_seen.clusters == 8 and clustered_seen.delta == 0 and clustered_seen.p == 1
    assert clustered_seen.low < 3 * estimate(Pairs(ones, ones), 0.05).low < 0


def test_equal_fractions_are_no_certainty():
    fractions = np.full(10, 0.4)
    seen = estimate(Pairs(fractions, fractions), 0.05)
    assert (seen.low, seen.high) == pytest.approx(tango(0, 0, 10, 0.05))


def test_agreement_on_every_token_of_few_documents_is_no_certainty():
    """20 documents without a failure leave up to 1 - 0.025^(1/20) = 16.8 % of failures open."""
    tokens = np.array([3.0, 5.0] * 10)
    seen = level(tokens, tokens, None, 0.05)
    assert (seen.value, seen.high) == (1.0, 1.0)
    assert seen.low == pytest.approx(0.025 ** (1 / 20), abs=1e-9)
    assert level(tokens, tokens, np.arange(20) // 2, 0.05).low == pytest.approx(0.025 ** (1 / 10), abs=1e-9)
    both = estimate(Pairs(tokens, tokens, tokens), 0.05)
    assert (both.delta, both.high, both.p) == (0.0, 0.0, 1.0)
    assert both.low == pytest.approx(0.025 ** (1 / 20) - 1, abs=1e-9)
    assert both.mde > 0.1


@pytest.mark.parametrize("codes", [None, np.repeat(np.arange(5), 4)])
def test_estimate_and_level_refuse_fewer_units_than_say_anything(codes):
    values = np.zeros(5 if codes is None else 20)
    with pytest.raises(ValueError, match="too few"):
        estimate(Pairs(values, values, None, codes), 0.05)
    with pytest.raises(ValueError, match="too few"):
        level(values, None, codes, 0.05)


def test_level_names_the_value_of_each_kind_of_score():
    generator, codes = np.random.default_rng(8), np.repeat(np.arange(10), 3)
    shares, other = np.array([0.0, 1, 1] * 10), generator.gamma(2, 1, 30)
    for values, weights, clusters in ((shares, None, None), (shares, None, codes), (other, None, codes)):
        seen = level(values, weights, clusters, 0.05)
        assert seen.low < seen.value == values.mean() < seen.high
        assert (seen.n, seen.clusters) == (30, None if clusters is None else 10)
    ratio = level(3 * other, other, codes, 0.05)
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((3.0, 3.0, 3.0))


def test_macro_of_one_score_is_its_estimate_and_of_two_the_mean():
    one = estimate(draw_pairs(np.random.default_rng(9), 50, 0.3, 0.1), 0.05)
    alone = macro([one], 0.05)
    assert alone[:5] == pytest.approx(one[:5]) and (alone.n, alone.mde) == (50, one.mde)
    other = one._replace(delta=0.0, low=-0.1, high=0.1, mde=0.2)
    both = macro([one, other], 0.05)
    assert both.delta == one.delta / 2 and both.n == 100
    assert both.delta - both.low == pytest.approx(math.hypot(one.delta - one.low, 0.1) / 2)
    assert (both.p < 0.05) == (not both.low <= 0 <= both.high)


def test_macro_of_a_base_against_itself_is_zero():
    seen = macro([estimate(pairs([0, 1] * 10, [0, 1] * 10), 0.05)] * 3, 0.05)
    assert (seen.delta, seen.p) == (0.0, 1.0)


def test_over_seeds_has_the_components_of_a_table_made_of_known_ones():
    """Items and seeds without a rest: the standard deviation of seeds comes out exactly, the mean is the mean."""
    items, shifts = np.array([-1.0, 0.0, 1.0, 2.0, -2.0, 0.0]), np.array([[0.1], [0.3], [0.5]])
    seen = over_seeds(np.zeros(6), items + shifts, 0.05)
    assert (seen.seeds, seen.delta, seen.sd_seeds) == (3, pytest.approx(0.3), pytest.approx(0.2))
    reach = math.hypot(stats.t.ppf(0.975, 5) * items.std(ddof=1) / math.sqrt(6), stats.t.ppf(0.975, 2) * 0.2 / 3**0.5)
    assert (seen.low, seen.high) == pytest.approx((0.3 - reach, 0.3 + reach), rel=1e-5)


def test_over_seeds_estimates_the_spread_of_seeds_without_bias():
    """Mean of MS_seeds - MS_rest over n is the variance between seeds; 400 tables of 4 seeds and 40 items."""
    generator, variances = np.random.default_rng(10), []
    for _ in range(400):
        items, rest = generator.normal(size=40), generator.normal(size=(4, 40)) / 4
        variances.append(over_seeds(np.zeros(40), items + generator.normal(0, 0.5, (4, 1)) + rest, 0.05).sd_seeds ** 2)
    assert np.mean(variances) == pytest.approx(0.25, abs=0.03)


def test_over_seeds_of_one_seed_is_refused():
    with pytest.raises(ValueError, match="one seed"):
        over_seeds(np.zeros(6), np.zeros((1, 6)), 0.05)


def test_planned_documents_and_detectable_effects_are_inverse():
    assert detectable(0.5, documents_for(0.5, 0.1, 0.05), 0.05) == pytest.approx(0.1, rel=0.02)
    assert documents_for(math.sqrt(0.1), 0.02, 0.05) == 2000  # 7.85 * 0.1 / 0.02^2 = 1962
    assert detectable_pairs(0.1, pairs_for(0.1, 0.03, 0.05), 0.05) == pytest.approx(0.03, rel=0.03)
    assert detectable_pairs(0.2, 20_000, 0.05) == pytest.approx(detectable(math.sqrt(0.2), 20_000, 0.05), rel=0.01)
    assert documents_for(0.5, 0.0, 0.05) is None and pairs_for(0.5, 0.0, 0.05) is None


def test_power_is_light_enough_for_a_plan():
    code = "import sys, pipelines.stats.power; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_guessed_discordance_lies_between_a_tenth_and_a_fifth_and_never_below_the_gain():
    assert discordance() == pytest.approx(0.15)
    assert discordance(0.9, 0.1) == pytest.approx(0.1)
    assert discordance(0.2, 0.5) == pytest.approx(0.5)
    assert design_effect(8, 0.5) == 4.5


def draw_pairs(generator, n, gain, loss):
    """Yes-or-no scores of which each document gains or loses with the given probability."""
    kind = generator.choice(4, n, p=[gain, loss, (1 - gain - loss) / 2, (1 - gain - loss) / 2])
    return pairs(np.isin(kind, (1, 2)), np.isin(kind, (0, 2)))


def test_estimate_picks_its_method_by_the_scores():
    generator = np.random.default_rng(5)
    assert "Tango" in estimate(draw_pairs(generator, 50, 0.2, 0.1), 0.05).method
    assert "paired bootstrap-t" in estimate(pairs([0.5, 1, 0, 1, 0, 1], [1, 1, 0, 0.5, 0, 0]), 0.05).method
    assert "bootstrap" in estimate(pairs([1, 2, 3, 4, 5, 5], [1, 2, 3, 4, 6, 4], [1, 1, 2, 2, 3, 3]), 0.05).method


@pytest.mark.parametrize("clusters", [None, np.arange(12) // 2])
def test_differences_of_one_size_are_no_certainty_but_yes_or_no_in_that_unit(clusters):
    base = np.linspace(0.1, 0.4, 12)
    seen = estimate(Pairs(base, base + 0.3, None, clusters), 0.05)
    told = estimate(Pairs(np.zeros(12), np.ones(12), None, clusters), 0.05)
    assert (seen.low, seen.high) == pytest.approx((0.3 * told.low, 0.3 * told.high))
    assert seen.low < 0.27 and seen.mde > 0
    assert seen.p == told.p


def test_differences_of_several_sizes_stay_with_the_bootstrap():
    base = np.linspace(0.1, 0.4, 12)
    assert "bootstrap" in estimate(Pairs(base, base + np.linspace(0.1, 0.3, 12)), 0.05).method
    assert estimate(Pairs(base * 9, base * 9), 0.05)[2:5] == (0.0, 0.0, 0.0)
