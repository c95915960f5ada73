"""Flips, retention and the measures of a chain of generations against numbers worked out by hand."""

import numpy as np
import pytest

from pipelines.stats.flips import flipped
from pipelines.stats.forgetting import (
    accuracy,
    average_forgetting,
    backward_transfer,
    forward_transfer,
    general_delta,
    retention,
)

CHAIN = [[0.8, 0.3, 0.2], [0.6, 0.9, 0.4], [0.7, 0.5, 1.0]]
"""Score on task 0, 1, 2 after stage 0, 1, 2."""


def test_chain_measures_are_those_worked_out_by_hand():
    assert accuracy(CHAIN) == pytest.approx((0.7 + 0.5 + 1.0) / 3)
    assert backward_transfer(CHAIN) == pytest.approx(((0.7 - 0.8) + (0.5 - 0.9)) / 2)
    assert forward_transfer(CHAIN, [0.1, 0.25, 0.3]) == pytest.approx(((0.3 - 0.25) + (0.4 - 0.3)) / 2)
    assert average_forgetting(CHAIN) == pytest.approx(((0.8 - 0.7) + (0.9 - 0.5)) / 2)


def test_average_forgetting_takes_the_best_of_all_earlier_stages_and_can_be_a_gain():
    assert average_forgetting([[0.5, 0.9], [0.6, 0.8]]) == pytest.approx(-0.1)
    assert average_forgetting([[0.2, 0.9, 0], [0.4, 0.1, 0], [0.3, 0.5, 0]]) == pytest.approx((0.1 + 0.4) / 2)


def test_chain_measures_leave_out_what_was_not_measured():
    holes = [[0.8, None, None], [None, 0.9, 0.4], [0.7, None, 1.0]]
    assert accuracy(holes) == pytest.approx(0.85)
    assert backward_transfer(holes) == pytest.approx(-0.1)
    assert forward_transfer(holes, [None, 0.25, 0.3]) == pytest.approx(0.1)
    assert average_forgetting(holes) == pytest.approx(0.1)


def test_chain_of_one_generation_has_nothing_to_forget():
    assert accuracy([[0.5]]) == 0.5
    assert backward_transfer([[0.5]]) is forward_transfer([[0.5]], [0.4]) is average_forgetting([[0.5]]) is None


def test_general_delta_is_the_mean_change_of_what_was_measured_twice():
    assert general_delta([0.5, 0.6, None], [0.4, 0.8, 0.9]) == pytest.approx(0.05)
    assert general_delta([None], [0.4]) is None


@pytest.mark.parametrize(("candidate", "kept"), [(0.55, 0.75), (0.1, 0.0), (0.95, 1.2), (0.65, 1.0)])
def test_retention_is_the_share_above_chance_that_is_left(candidate, kept):
    assert retention(0.65, candidate, 0.25, 0.02) == pytest.approx(kept)


def test_retention_of_a_base_at_chance_is_not_measurable():
    assert retention(0.30, 0.28, 0.25, 0.02) is None


def test_flips_are_counted_and_adjusted_for_guessing():
    """100 documents, 4 options: 40 right twice, 20 lost, 10 gained, 30 wrong twice; 30 / 100 / 3 are lucky guesses."""
    base = [1] * 60 + [0] * 40
    candidate = [1] * 40 + [0] * 20 + [1] * 10 + [0] * 30
    seen = flipped(base, candidate, 0.25)
    assert (seen.n, seen.worse, seen.better) == (100, 20, 10)
    assert seen.worse_adjusted == pytest.approx(0.20 - (1 - 0.6) / 3 * 30 / 40)
    assert seen.better_adjusted == pytest.approx(max(0.0, 0.10 - (1 - 0.5) / 3 * 30 / 50))
    assert flipped(base, candidate, None)[3:] == (0.2, 0.1)


def test_flips_of_two_guessers_who_learnt_nothing_vanish_when_adjusted():
    """Both know a half and guess the rest anew among 4: what flips is luck."""
    generator = np.random.default_rng(0)
    knows = generator.random(40_000) < 0.5
    base, candidate = (knows | (generator.random(40_000) < 0.25) for _ in range(2))
    seen = flipped(base.astype(float), candidate.astype(float), 0.25)
    assert seen.worse / seen.n > 0.08
    assert seen.worse_adjusted < 0.006 and seen.better_adjusted < 0.006


def test_flips_of_no_documents_are_none():
    assert flipped([], [], 0.25) == (0, 0, 0, 0.0, 0.0)
