"""Interpolation between a base and a tuned model: WiSE-FT.

Paper: Wortsman et al. 2021, "Robust fine-tuning of zero-shot models", arXiv 2109.01903.
Formula: (1 - alpha) theta_base + alpha theta_tuned, elementwise, in fp32. alpha 0 is the base and alpha 1 the tuned
model, bitwise.

Divergences: none. mergekit has it as `linear` or `slerp` of two models; `slerp` is another curve between the same
ends.
"""

import torch

from pipelines.merge.linear import linear_read
from pipelines.merge.reads import Read, stored, whole


def interpolate(base: torch.Tensor, tuned: torch.Tensor, alpha: float) -> torch.Tensor:
    """The point at `alpha` in [0, 1] on the line from `base` to `tuned`, as fp32."""
    return whole(interpolate_read(stored(base), stored(tuned), alpha), base)


def interpolate_read(base: Read, tuned: Read, alpha: float) -> Read:
    """The point at `alpha` between two Reads."""
    return linear_read([base, tuned], [1 - alpha, alpha])
