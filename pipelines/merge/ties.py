"""TIES: trim, elect sign, disjoint mean.

Paper: Yadav et al. 2023, "TIES-Merging", arXiv 2306.01708.
Formula, with task vectors tau_i = theta_i - theta_base, for each element:
    t_i   = tau_i where |tau_i| is among the `density` share of largest magnitudes, else 0
    sign  = sign of sum_i w_i t_i, + when the sum is 0 (`sign: count`: of sum_i w_i sign(t_i))
    mean  = sum_A w_i t_i / sum_A w_i over A = {i: t_i has that sign}
    theta = theta_base + lambda mean

Divergences:
- The paper trims over the whole model (`scope: global`); by default, as in mergekit, each tensor is trimmed by itself.
- Tie rule: all elements at least as large as the k-th largest survive, k = max(1, int(density n)). The authors' code
  does so too; mergekit keeps exactly k and takes any of the equal ones, which differs a lot on bf16 deltas, where
  many are equal.
- The sign is elected by weighted mass, as in mergekit; the paper has no weights, and where the sum is 0 takes the
  sign of the majority of the model.
- Vectors (norms, biases) are not trimmed: n is too small for a quantile to mean something. mergekit trims them.
- Weights are relative: they steer the election and the mean, and doubling all of them changes nothing.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch

from pipelines.merge.kinds import Ties
from pipelines.merge.reads import Read, TensorInputs, inputs_of, whole
from pipelines.merge.threshold import Bracket, row_thresholds, threshold


def ties(
    base: torch.Tensor,
    tuned: Sequence[torch.Tensor],
    weights: Sequence[float],
    density: float,
    lambda_: float = 1.0,
    scope: str = "tensor",
    sign: str = "mass",
) -> torch.Tensor:
    """Merge `tuned` into `base`, tensors of one shape, as fp32. `density` in [0, 1] survives the trim."""
    settings = {"kind": "ties", "density": float(density), "lambda": lambda_, "scope": scope, "sign": sign}
    return whole(ties_read(inputs_of(base, tuned), weights, Ties.model_validate(settings)), base.shape)


def ties_read(x: TensorInputs, weights: Sequence[float], method: Ties) -> Read:
    """The merge. Finds the thresholds at once, which reads every task vector up to twice."""
    largest = max(weights) or 1.0
    relative = [weight / largest for weight in weights]
    trim = _trim(x, method)
    if trim is None and len(weights) == 1 and weights[0] and method.lambda_ == 1:
        return x.values[0]

    def read(start: int, stop: int) -> torch.Tensor:
        base, deltas = x.base_and_deltas(start, stop)
        kept = trim(deltas, start, stop) if trim else deltas
        return x.kernels.elect(base, kept, relative, method.lambda_, divide=True, count=method.sign == "count")

    return read


def model_bounds(tensors: Sequence[TensorInputs], density: float, index: int) -> float:
    """The smallest magnitude of the task vector of model `index` that survives a trim over all `tensors`."""
    ends = np.cumsum([x.elements for x in tensors])
    size = int(ends[-1]) if tensors else 0

    def read(start: int, stop: int) -> torch.Tensor:
        pieces = []
        at = int(np.searchsorted(ends, start, side="right"))
        while start < stop:
            first = int(ends[at]) - tensors[at].elements
            until = min(stop, int(ends[at]))
            pieces.append(tensors[at].delta(index, start - first, until - first))
            start, at = until, at + 1
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    return _bound(read, size, density, tensors[0].kernels.bracket) if size else 0.0


def _trim(x: TensorInputs, method: Ties) -> Callable[[torch.Tensor, int, int], torch.Tensor] | None:
    """What sets to 0, in place, all but the share of largest magnitudes of the task vectors; None where all stay."""
    if method.density == 1 or x.vector or not x.elements:
        return None
    count = len(x.values)
    if method.scope == "row" and method.density > 0:
        rows = torch.stack([row_thresholds(x, index, method.density) for index in range(count)])
        columns = x.shape[-1]

        def trim_rows(deltas: torch.Tensor, start: int, stop: int) -> torch.Tensor:
            row = torch.arange(start, stop).div_(columns, rounding_mode="floor")
            return deltas.masked_fill_(deltas.abs() < rows[:, row].to(deltas.device), 0.0)

        return trim_rows
    found = x.bounds or [
        _bound(partial(x.delta, at), x.elements, method.density, x.kernels.bracket) for at in range(count)
    ]
    return lambda deltas, start, stop: x.kernels.keep_between(deltas, found, [math.inf] * count)


def _bound(delta: Read, size: int, density: float, bracket: Bracket) -> float:
    return threshold(delta, size, max(1, int(density * size)), bracket) if density > 0 else math.inf
