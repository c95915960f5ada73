"""DELLA: random drop that spares large magnitudes, then sign election and disjoint mean.

Paper: Deep et al. 2024, "DELLA-Merging", arXiv 2406.11617; the drop is its MAGPRUNE.
Formula, with task vectors tau_i = theta_i - theta_base and r the rank of |tau_i| within its row of n elements, 0 for
the smallest:
    p     = density - epsilon + 2 epsilon r / (n - 1), and `density` in rows of one element
    t_i   = m_i tau_i / p, with m_i ~ Bernoulli(p)
    theta = theta_base + lambda mean, the disjoint mean of `ties` over the t_i; with `elect: false` instead of the
            mean sum_i w_i t_i

The random numbers are those of `dare`: they depend on seed, tensor name and model alone. Equal magnitudes are ranked by
their index. p is rounded to a multiple of 2**-16, and the rescale uses the rounded value, so the expectation of t_i is
tau_i.

Divergences:
- The paper states drop probabilities, 1 - p, and calls the whole range between the ends of a row epsilon; here, as in
  the authors' code and in mergekit, it is half of it.
- mergekit rescales so that the L1 norm is kept, which is biased on small tensors, draws from torch's global generator
  and gives rows of one element NaN for a probability.
- Vectors (norms, biases) are not dropped; the authors and mergekit take each as one row.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from pipelines.merge.dare import LEVELS, mask_key, uniform16
from pipelines.merge.kinds import Della
from pipelines.merge.reads import Read, TensorInputs, inputs_of, whole
from pipelines.merge.unfit import unfit

MAGNITUDE = np.int32(0x7FFFFFFF)


def della(
    base: torch.Tensor,
    tuned: Sequence[torch.Tensor],
    weights: Sequence[float],
    density: float,
    epsilon: float,
    elect: bool = True,
    lambda_: float = 1.0,
    seed: int = 0,
    name: str = "",
) -> torch.Tensor:
    """Merge `tuned` into `base`, tensors of one shape, as fp32. `name` is the tensor's: each has its own masks."""
    settings = {"density": float(density), "epsilon": float(epsilon), "elect": elect, "lambda": lambda_, "seed": seed}
    method = Della.model_validate({"kind": "della"} | settings)
    return whole(della_read(inputs_of(base, tuned, name), weights, method), base.shape)


def della_read(x: TensorInputs, weights: Sequence[float], method: Della) -> Read:
    """The merge. A slice is computed from the whole rows that it touches."""
    pruned = magprune(x, method.density, method.epsilon, method.seed)
    largest = max(weights) or 1.0
    relative = [weight / largest for weight in weights]
    counts = weights[0] > 0 if method.elect else weights[0] == 1
    if pruned is None and len(weights) == 1 and counts and method.lambda_ == 1:
        return x.values[0]

    def read(start: int, stop: int) -> torch.Tensor:
        base, deltas = (x.base(start, stop), pruned(start, stop)) if pruned else x.base_and_deltas(start, stop)
        if method.elect:
            return x.kernels.elect(base, deltas, relative, method.lambda_, divide=True, count=False)
        return x.kernels.add(base, deltas, weights, method.lambda_)

    return read


def magprune(x: TensorInputs, density: float, epsilon: float, seed: int) -> Read | None:
    """What reads the dropped and rescaled task vectors, [models, elements], fresh; None where all stay."""
    if x.vector or not x.elements:
        return None
    columns = x.shape[-1]
    levels = _levels(x.name, columns, density, epsilon)
    if levels[0] == levels[-1] == LEVELS:
        return None
    factors = (LEVELS / levels).astype(np.float32)
    keys = [mask_key(seed, x.name, model) for model in x.models]

    def pruned(start: int, stop: int) -> torch.Tensor:
        first, last = start // columns * columns, -(-stop // columns) * columns
        deltas = x.deltas(first, last)
        for delta, key in zip(deltas, keys, strict=True):
            ranks = _ranks(delta.cpu().numpy().reshape(-1, columns)).reshape(-1)
            keep = uniform16(key, first, last) < levels[ranks]
            delta *= torch.from_numpy(factors[ranks] * keep).to(delta.device)
        return deltas[:, start - first : stop - first].contiguous()

    return pruned


def _levels(name: str, columns: int, density: float, epsilon: float) -> npt.NDArray[np.int32]:
    """The keep probability of every rank, in units of 1 / LEVELS."""
    if not 0 < density - epsilon <= density + epsilon <= 1 + 1e-9:
        what = "the patterns that meet here make density - epsilon or density + epsilon no probability"
        raise unfit(name, what, f"{density:g} and {epsilon:g}", "Give density and epsilon the same patterns")
    share = np.linspace(-1, 1, columns) if columns > 1 else np.zeros(1)
    return np.clip(np.rint((density + epsilon * share) * LEVELS), 1, LEVELS).astype(np.int32)


def _ranks(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """The place of every element among the magnitudes of its row, equal ones in the order of their index."""
    columns = rows.shape[1]
    order = (rows.view(np.int32) & MAGNITUDE).astype(np.int64) << 32
    # The index in the low bits makes all numbers different, so an unstable sort will do.
    order |= np.arange(columns)
    order.sort(axis=1)
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order & 0xFFFFFFFF, np.arange(columns)[None], axis=1)
    return ranks
