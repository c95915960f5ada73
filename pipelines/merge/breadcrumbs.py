"""Model Breadcrumbs: task vectors without their smallest and their very largest elements, summed.

Paper: Davari and Belilovsky 2023, "Model Breadcrumbs", arXiv 2312.06795.
Formula, with task vectors tau_i = theta_i - theta_base, of n elements a tensor:
    t_i   = tau_i where |tau_i| is among the `density` share that follows the `gamma` share of largest magnitudes,
            else 0
    theta = theta_base + lambda sum_i w_i t_i; with `elect` the sum is over those that have the sign of the whole sum,
            + when it is 0

Divergences:
- Tie rule: with g = int(gamma n) and k = max(1, int(density n)), an element survives when its magnitude is between the
  (g+1)-th and the (g+k)-th largest, both included: what equals a bound stays. mergekit keeps exactly k and takes any
  of the equal ones, and where density and gamma add up to more than 1 it makes gamma smaller; here that is an error.
- The paper has no sign election; it is mergekit's `breadcrumbs_ties`, which does not divide the sum either.
- Vectors (norms, biases) are not trimmed.
"""

import math
from collections.abc import Sequence
from functools import partial

import torch

from pipelines.merge.kinds import Breadcrumbs
from pipelines.merge.reads import Read, TensorInputs, inputs_of, whole
from pipelines.merge.task_arithmetic import Thin, sum_read
from pipelines.merge.threshold import threshold
from pipelines.merge.unfit import unfit


def breadcrumbs(
    base: torch.Tensor,
    tuned: Sequence[torch.Tensor],
    weights: Sequence[float],
    density: float,
    gamma: float,
    elect: bool = False,
    lambda_: float = 1.0,
) -> torch.Tensor:
    """Merge `tuned` into `base`, tensors of one shape, as fp32."""
    settings = {"density": float(density), "gamma": float(gamma), "elect": elect, "lambda": lambda_}
    method = Breadcrumbs.model_validate({"kind": "breadcrumbs"} | settings)
    return whole(breadcrumbs_read(inputs_of(base, tuned), weights, method), base.shape)


def breadcrumbs_read(x: TensorInputs, weights: Sequence[float], method: Breadcrumbs) -> Read:
    """The merge. Finds the thresholds at once, which reads every task vector up to four times."""
    return sum_read(x, weights, method.lambda_, _trim(x, method.density, method.gamma), method.elect)


def _trim(x: TensorInputs, density: float, gamma: float) -> Thin | None:
    """What sets to 0, in place, the elements of the task vectors that do not survive; None where all do."""
    if density + gamma > 1:
        what = "the patterns that meet here make density and gamma add up to more than 1"
        raise unfit(x.name, what, f"{density:g} and {gamma:g}", "Give density and gamma the same patterns")
    size = x.elements
    largest = min(int(gamma * size), size - 1)
    last = min(largest + max(1, int(density * size)), size)
    if x.vector or not size or last - largest == size:
        return None
    deltas = [partial(x.delta, index) for index in range(len(x.values))]
    low = [threshold(delta, size, last, x.kernels.bracket) for delta in deltas]
    high = [threshold(delta, size, largest + 1, x.kernels.bracket) if largest else math.inf for delta in deltas]
    return lambda kept, start, stop: x.kernels.keep_between(kept, low, high)
