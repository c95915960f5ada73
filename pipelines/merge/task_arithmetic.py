"""Task arithmetic: the base plus a weighted sum of task vectors.

Paper: Ilharco et al. 2022, "Editing models with task arithmetic", arXiv 2212.04089.
Formula: theta_base + lambda sum_i w_i (theta_i - theta_base), elementwise, in fp32.

A negative weight takes a task away. One model with lambda w = 1 is that model, bitwise.

Divergences: mergekit computes it in the type of the inputs (w = 1 then changes 1.7 % of bf16 elements by an ulp), has
`normalize`, which divides by the sum of the weights (write the quotients instead), and accepts a density that does
nothing.
"""

from collections.abc import Callable, Sequence

import torch

from pipelines.merge.kinds import TaskArithmetic
from pipelines.merge.reads import Read, TensorInputs, inputs_of, whole


def task_arithmetic(
    base: torch.Tensor, tuned: Sequence[torch.Tensor], weights: Sequence[float], lambda_: float = 1.0
) -> torch.Tensor:
    """Add the task vectors of `tuned` to `base`, tensors of one shape, as fp32."""
    method = TaskArithmetic.model_validate({"kind": "task_arithmetic", "lambda": lambda_})
    return whole(task_arithmetic_read(inputs_of(base, tuned), weights, method), base.shape)


def task_arithmetic_read(x: TensorInputs, weights: Sequence[float], method: TaskArithmetic) -> Read:
    """The base with all task vectors added."""
    return sum_read(x, weights, method.lambda_)


Thin = Callable[[torch.Tensor, int, int], torch.Tensor]
"""Sets elements of the task vectors [models, stop - start] of a slice to 0, in place: (deltas, start, stop)."""


def sum_read(
    x: TensorInputs, weights: Sequence[float], lambda_: float, thin: Thin | None = None, elect: bool = False
) -> Read:
    """base + lambda times the sum of w_i delta_i, each thinned first; with `elect` of those with the elected sign."""
    if thin is None and len(weights) == 1 and weights[0] * lambda_ == 1:
        return x.values[0]

    def read(start: int, stop: int) -> torch.Tensor:
        base, deltas = x.base_and_deltas(start, stop)
        kept = thin(deltas, start, stop) if thin else deltas
        if elect:
            return x.kernels.elect(base, kept, weights, lambda_, divide=False, count=False)
        return x.kernels.add(base, kept, weights, lambda_)

    return read
