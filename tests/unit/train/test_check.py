"""What a training entry is told before anything is started."""

import pytest

from pipelines.train.check import batch_problems, check
from pipelines.train.config import TrainConfig


def config(**changes):
    start = {"on": "data", "method": {"kind": "lora"}, "learning_rate": 1e-4, "batch_size": 8}
    return TrainConfig.model_validate(start | changes)


@pytest.mark.parametrize(
    ("changes", "processes", "fits"),
    [
        ({}, 1, True),
        ({}, 4, True),
        ({}, 3, False),
        ({"micro_batch_size": 2}, 2, True),
        ({"micro_batch_size": 3}, 1, False),
        ({"micro_batch_size": 8}, 2, False),
    ],
)
def test_batch_must_split_over_processes_and_micro_batches(changes, processes, fits):
    assert (batch_problems(config(**changes), processes) == []) is fits


def test_check_knows_the_processes_of_the_recipe():
    (problem,) = check(config(launch={"processes": 3}))
    assert str(problem) == "batch_size: does not split evenly over 3 processes (got 8). Use a multiple of 3"
