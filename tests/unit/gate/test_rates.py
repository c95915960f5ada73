"""How often gates fail a model that lost no more than it may: simulated, against the stated error rate."""

import numpy as np
import pytest

from pipelines.gate.rules import Gain, Verdict, no_regression
from pipelines.stats.estimate import Estimate, Pairs, estimate
from pipelines.stats.multiple import holm

ALPHA = 0.05


def simulated(generator: np.random.Generator, n: int, loss: float) -> Estimate:
    """n yes-or-no documents of which a tenth change, and in the mean a share of `loss` for the worse."""
    change = generator.choice([-1.0, 1.0, 0.0], n, p=[(0.1 + loss) / 2, (0.1 - loss) / 2, 0.9])
    base = np.where(change == 0, generator.integers(0, 2, n), change < 0).astype(np.float64)
    return estimate(Pairs(base, base + change), ALPHA)


def fails(seen: Estimate, margin: float, p: float) -> bool:
    return no_regression(Gain(seen.delta, seen.low, seen.high), margin, p, ALPHA) == Verdict.FAIL


@pytest.mark.parametrize("loss", [0.02, 0.015])
def test_loss_that_is_accepted_fails_at_most_at_the_stated_rate(loss):
    generator = np.random.default_rng(0)
    found = [simulated(generator, 1000, loss) for _ in range(600)]
    assert np.mean([fails(seen, 0.02, seen.p) for seen in found]) <= 0.05


def test_loss_beyond_the_margin_is_found():
    generator = np.random.default_rng(1)
    found = [simulated(generator, 1000, 0.06) for _ in range(200)]
    assert np.mean([fails(seen, 0.02, seen.p) for seen in found]) >= 0.9


def test_one_of_six_gates_without_a_margin_fails_at_most_at_the_stated_rate():
    generator, wrong = np.random.default_rng(2), 0
    for _ in range(300):
        gates = [simulated(generator, 300, 0.0) for _ in range(6)]
        wrong += any(fails(one, 0.0, p) for one, p in zip(gates, holm([one.p for one in gates]), strict=True))
    assert wrong / 300 <= 0.06
