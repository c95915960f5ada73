"""SCE: select by variance, calculate weights by energy, erase minority signs.

Paper: Wan et al. 2024, "FuseChat", arXiv 2408.07990, section on SCE.
Formula, with task vectors tau_i = theta_i - theta_base, within each tensor:
    t_i   = tau_i where the variance of the tau_i across the models is among the `density` share of largest, else 0
    w_i   = mean of t_i squared, over the sum of these means
    sign  = sign of sum_i t_i, + when the sum is 0
    theta = theta_base + lambda sum_A w_i t_i / sum_A w_i over A = {i: t_i has that sign}

Variances are computed in fp64 and compared in fp32, the means are sums in fp64 in the order of the elements.

Divergences:
- Tie rule: all elements whose variance is at least the k-th largest are selected, k = max(1, int(density n)). The
  authors' code and mergekit take the share of the elements of non-zero variance only, exactly k of them and any of the
  equal ones. So where fewer than k elements differ between the models, here all are selected, and copies of one model
  merge to that model; theirs gives the base.
- The authors' code uses the selection for the weights alone and merges all elements; here, as in the paper and in
  mergekit, only selected elements are merged.
- Vectors (norms, biases) are merged whole.
"""

from collections.abc import Sequence

import torch

from pipelines.merge.kinds import Sce
from pipelines.merge.reads import Read, TensorInputs, inputs_of, spans, whole
from pipelines.merge.threshold import threshold


def sce(base: torch.Tensor, tuned: Sequence[torch.Tensor], density: float, lambda_: float = 1.0) -> torch.Tensor:
    """Merge `tuned` into `base`, tensors of one shape, as fp32. `density` in (0, 1] is merged."""
    method = Sce.model_validate({"kind": "sce", "density": float(density), "lambda": lambda_})
    return whole(sce_read(inputs_of(base, tuned), [1.0] * len(tuned), method), base.shape)


def sce_read(x: TensorInputs, weights: Sequence[float], method: Sce) -> Read:
    """The merge; `weights` are not used. Finds threshold and energies at once, in up to three passes."""
    if len(x.values) == 1 and method.lambda_ == 1:
        return x.values[0]
    least = _least_spread(x, method.density)
    energies = _energies(x, least)
    relative = [energy / max(energies) for energy in energies] if any(energies) else [1.0] * len(energies)

    def read(start: int, stop: int) -> torch.Tensor:
        base, deltas = x.base_and_deltas(start, stop)
        sign = torch.where(_sum(_select(deltas, least)) < 0, -1.0, 1.0)
        for delta in deltas:
            delta *= delta * sign > 0
        return x.kernels.elect(base, deltas, relative, method.lambda_, divide=True, count=False)

    return read


def spread(deltas: torch.Tensor) -> torch.Tensor:
    """A number in the order of the variance across the models, [models, elements] -> [elements].

    It is the standard deviation times a constant, so that nothing is divided: exactly 0 for equal numbers, and the
    same bits on every device.
    """
    total = _sum(deltas.double())
    squares = torch.zeros_like(total)
    for delta in deltas:
        squares += (delta.double() * len(deltas) - total).square_()
    return squares.sqrt_().float()


def _sum(rows: torch.Tensor) -> torch.Tensor:
    """The sum over the models in their order, which torch does not promise."""
    total = rows[0].clone()
    for row in rows[1:]:
        total += row
    return total


def _select(deltas: torch.Tensor, least: float) -> torch.Tensor:
    """Set to 0, in place, where the spread is less than `least`. A NaN stays one."""
    return deltas.mul_(spread(deltas) >= least) if least > 0 else deltas


def _deltas(x: TensorInputs, start: int, stop: int) -> torch.Tensor:
    """The task vectors on the CPU: sums taken elsewhere may have another order."""
    return torch.stack([x.delta(index, start, stop) for index in range(len(x.values))])


def _least_spread(x: TensorInputs, density: float) -> float:
    """The smallest spread that is selected."""
    if density == 1 or x.vector or not x.elements:
        return 0.0
    k = max(1, int(density * x.elements))
    return threshold(lambda start, stop: spread(_deltas(x, start, stop)), x.elements, k, x.kernels.bracket)


def _energies(x: TensorInputs, least: float) -> list[float]:
    """The sum of the squares of the selected elements of each model."""
    found = [0.0] * len(x.values)
    for start, stop in spans(x.elements):
        squares = _select(_deltas(x, start, stop), least).double().square_()
        # NaN and infinity are left to the slice that holds them, so that it is the one that is blamed.
        squares.nan_to_num_(0.0, 0.0, 0.0)
        found = [energy + float(row.sum()) for energy, row in zip(found, squares, strict=True)]
    return found
