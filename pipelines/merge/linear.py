"""Linear merge: the weighted mean of models, a soup.

Paper: Wortsman et al. 2022, "Model soups", arXiv 2203.05482.
Formula: sum_i w_i theta_i / sum_i w_i, elementwise, in fp32.

It is computed from the model r of largest weight as theta_r - sum_i w_i (theta_r - theta_i), which makes the mean of
equal numbers that number to the last bit; the plain sum does not (3 x 1/3 x 0.1 is not 0.1 in fp32).

Divergences: mergekit's `linear` divides a plain sum, and writes NaN when the weights sum to 0; here that is an error.
Models of weight 0 are not read. The order of the models changes the result by rounding only; the pipeline sorts them
first.
"""

from collections.abc import Sequence

import torch

from pipelines.merge import kernels
from pipelines.merge.kernels import Kernels
from pipelines.merge.kinds import Linear
from pipelines.merge.reads import Read, TensorInputs, stored, whole


def linear(tensors: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
    """Weighted mean of tensors of one shape, as fp32. ValueError when the weights sum to 0."""
    return whole(mean_read([stored(tensor) for tensor in tensors], weights), tensors[0].shape)


def linear_read(x: TensorInputs, weights: Sequence[float], method: Linear) -> Read:
    """The weighted mean of the models."""
    return mean_read(x.values, weights, x.kernels)


def mean_read(reads: Sequence[Read], weights: Sequence[float], chosen: Kernels = kernels.reference) -> Read:
    """The weighted mean of `reads`; weights are divided by their sum."""
    total = sum(weights)
    if total == 0:
        raise ValueError("the weights sum to 0, so their mean is not defined")
    parts = [(read, weight / total) for read, weight in zip(reads, weights, strict=True) if weight]
    if len(parts) == 1:
        return parts[0][0]
    shares = [share for _, share in parts]
    return lambda start, stop: chosen.mean([read(start, stop) for read, _ in parts], shares)
