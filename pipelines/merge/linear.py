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

from pipelines.merge.reads import Read, stored, whole


def linear(tensors: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
    """Weighted mean of tensors of one shape, as fp32. ValueError when the weights sum to 0."""
    return whole(linear_read([stored(tensor) for tensor in tensors], weights), tensors[0])


def linear_read(reads: Sequence[Read], weights: Sequence[float]) -> Read:
    """The weighted mean of `reads`; weights are divided by their sum."""
    total = sum(weights)
    if total == 0:
        raise ValueError("the weights sum to 0, so their mean is not defined")
    parts = [(read, weight / total) for read, weight in zip(reads, weights, strict=True) if weight]
    heaviest = max(range(len(parts)), key=lambda index: abs(parts[index][1]))
    reference = parts.pop(heaviest)[0]
    if not parts:
        return reference

    def read(start: int, stop: int) -> torch.Tensor:
        origin = reference(start, stop)
        mean = origin
        for other, weight in parts:
            # The difference of equal numbers is +0; subtracting +0, unlike adding it, keeps the sign of -0.
            values = other(start, stop)
            step = torch.sub(origin, values) if weight > 0 else torch.sub(values, origin)
            step.mul_(abs(weight))
            mean = torch.sub(mean, step, out=step)
        return mean

    return read
