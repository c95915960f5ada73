"""The learning rate over the steps."""

import pytest
import torch
from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

from pipelines.train.schedule import rate

ORACLES = {"linear": get_linear_schedule_with_warmup, "cosine": get_cosine_schedule_with_warmup}


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_rate_after_warm_up_follows_transformers(kind):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    oracle = ORACLES[kind](optimizer, num_warmup_steps=4, num_training_steps=40).lr_lambdas[0]
    assert [rate(step, 40, 0.1, kind) for step in range(4, 40)] == pytest.approx(
        [oracle(step) for step in range(4, 40)]
    )


@pytest.mark.parametrize("kind", ["linear", "cosine", "constant"])
@pytest.mark.parametrize("total", [1, 2, 19, 20, 100])
def test_rate_every_step_learns_something_and_none_more_than_the_peak(kind, total):
    rates = [rate(step, total, 0.05, kind) for step in range(total)]
    assert all(0 < value <= 1 for value in rates)


def test_rate_warms_up_in_equal_stages():
    assert [rate(step, 30, 0.1, "constant") for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
