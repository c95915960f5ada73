"""Karcher: the weighted mean of the models' directions on the sphere.

Paper: Karcher 1977, "Riemannian center of mass and mollifier smoothing".
Formula, for each tensor as one vector u_i = theta_i / |theta_i|, weights divided by their sum: the unit vector m with
    sum_i w_i log_m(u_i) = 0, where log_m(u) = phi / sin(phi) (u - cos(phi) m), phi the angle between m and u
    theta = (sum_i w_i |theta_i|) m

m is found by m <- exp_m(sum_i w_i log_m(u_i)) from the mean of the u_i on. It stays a combination of the u_i, so the
iteration needs their inner products only, and no further pass over the models. Equal models give that model, bitwise.

A tensor of 0 has no direction and counts with its length only. Where the u_i cancel there is no mean direction, and
the result is the weighted mean of the models.

Divergences: mergekit's has no weights, stops at 1e-5 after 10 steps, takes the first model's direction where they
cancel, and rounds to the type of the models at every step, so that equal bf16 models are changed.
"""

from collections.abc import Sequence

import torch

from pipelines.merge.gram import combined, gram
from pipelines.merge.kinds import Karcher
from pipelines.merge.linear import mean_read
from pipelines.merge.reads import Read, TensorInputs, inputs_of, whole

CANCELLED = 1e-4
"""Length of the mean of directions, and sine of an angle, from which on a direction is sure."""


def karcher(
    tensors: Sequence[torch.Tensor], weights: Sequence[float], iterations: int = 100, tolerance: float = 1e-7
) -> torch.Tensor:
    """The mean of tensors of one shape, as fp32. ValueError when the weights sum to 0."""
    method = Karcher(kind="karcher", iterations=iterations, tolerance=tolerance)
    return whole(karcher_read(inputs_of(tensors[0], tensors), weights, method), tensors[0].shape)


def karcher_read(x: TensorInputs, weights: Sequence[float], method: Karcher) -> Read:
    """The mean of the models. Reads every one of them at once."""
    parts = [(read, weight) for read, weight in zip(x.values, weights, strict=True) if weight]
    if len(parts) < 2:
        return mean_read(x.values, weights, x.kernels)
    reads = [read for read, _ in parts]
    shares = torch.tensor([weight for _, weight in parts], dtype=torch.float64)
    shares /= shares.sum()
    products = gram(reads, x.elements)
    return combined(reads, _coefficients(products, shares, method).tolist(), x.kernels)


def _coefficients(products: torch.Tensor, shares: torch.Tensor, method: Karcher) -> torch.Tensor:
    """What the models are multiplied with, from their inner products: fp64 [models]."""
    squares = products.diagonal()
    lengths = squares.sqrt()
    pointing = torch.where(lengths > 0, shares, 0.0)
    pointing /= pointing.sum()
    cosines = torch.where(products != 0, products / (squares[:, None] * squares).sqrt(), 0.0)
    if not (products.isfinite().all() and pointing @ cosines @ pointing > CANCELLED**2):
        return shares
    mean = _mean_direction(cosines, pointing, method)
    return torch.where(lengths > 0, (shares @ lengths) * mean / lengths, 0.0)


def _mean_direction(cosines: torch.Tensor, shares: torch.Tensor, method: Karcher) -> torch.Tensor:
    """The mean of unit vectors as their combination, from the cosines between them."""
    mean = shares / (shares @ cosines @ shares).sqrt()
    for _ in range(method.iterations):
        cosine = (cosines @ mean).clamp(-1, 1)
        sine = (1 - cosine.square()).sqrt()
        near = (cosine > 0).double()  # phi / sin(phi) is 1 at phi = 0; at 180 degrees no direction is the shortest.
        pull = shares * torch.where(sine > CANCELLED, torch.acos(cosine) / sine, near)
        step = pull - (pull @ cosine) * mean
        length = (step @ cosines @ step).clamp(min=0).sqrt()
        if length <= method.tolerance:
            break
        mean = torch.cos(length) * mean + torch.sin(length) / length * step
        mean /= (mean @ cosines @ mean).sqrt()
    return mean
