"""DARE-TIES: DARE's random drop in place of TIES' trim, then sign election and a sum of what agrees.

Papers: Yu et al. 2023, "Language Models are Super Mario", arXiv 2311.03099; Yadav et al. 2023, arXiv 2306.01708.
Formula, with t_i the dropped and rescaled task vectors of `dare`, for each element:
    sign  = sign of sum_i w_i t_i, + when the sum is 0
    theta = theta_base + lambda sum_A w_i t_i over A = {i: t_i has that sign}

Divergences: as in mergekit the sum is not divided by the weights, so they scale what each model adds; those of `dare`
hold here too.
"""

from collections.abc import Sequence

import torch

from pipelines.merge.dare import random_drop
from pipelines.merge.kinds import DareTies
from pipelines.merge.reads import Read, TensorInputs, inputs_of, whole
from pipelines.merge.task_arithmetic import sum_read


def dare_ties(
    base: torch.Tensor,
    tuned: Sequence[torch.Tensor],
    weights: Sequence[float],
    density: float,
    lambda_: float = 1.0,
    seed: int = 0,
    name: str = "",
) -> torch.Tensor:
    """Merge `tuned` into `base`, tensors of one shape, as fp32. `name` is the tensor's: each has its own masks."""
    method = DareTies.model_validate({"kind": "dare_ties", "density": density, "lambda": lambda_, "seed": seed})
    return whole(dare_ties_read(inputs_of(base, tuned, name), weights, method), base.shape)


def dare_ties_read(x: TensorInputs, weights: Sequence[float], method: DareTies) -> Read:
    """The merge."""
    return sum_read(x, weights, method.lambda_, random_drop(x, method.density, method.seed), elect=True)
