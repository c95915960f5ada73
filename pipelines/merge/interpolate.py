"""Interpolation between a base and a tuned model: WiSE-FT.

Paper: Wortsman et al. 2021, "Robust fine-tuning of zero-shot models", arXiv 2109.01903.
Formula: (1 - alpha) theta_base + alpha theta_tuned, elementwise, in fp32. alpha 0 is the base and alpha 1 the tuned
model, bitwise.

Divergences: none. mergekit has it as `linear` or `slerp` of two models; `slerp` is another curve between the same
ends.
"""

from collections.abc import Sequence

import torch

from pipelines.merge.kinds import Interpolate
from pipelines.merge.linear import mean_read
from pipelines.merge.reads import Read, TensorInputs, inputs_of, whole


def interpolate(base: torch.Tensor, tuned: torch.Tensor, alpha: float) -> torch.Tensor:
    """The point at `alpha` in [0, 1] on the line from `base` to `tuned`, as fp32."""
    method = Interpolate(kind="interpolate", alpha=alpha)
    return whole(interpolate_read(inputs_of(base, [tuned]), [1.0], method), base.shape)


def interpolate_read(x: TensorInputs, weights: Sequence[float], method: Interpolate) -> Read:
    """The point at `alpha` between the base and the only model."""
    return mean_read([x.base, x.values[0]], [1 - method.alpha, method.alpha], x.kernels)
