"""SVC: singular values of a merge that the sum of overlapping tasks inflated, scaled back.

Paper: Li et al. 2026, "When Shared Knowledge Hurts: Spectral Over-Accumulation in Model Merging", arXiv 2602.05536
(singular value calibration, algorithm 1).
Formula, for each matrix with task vectors tau_i = theta_i - theta_base, after any method:
    theta_merged - theta_base = U diag(sigma) V^T
    a_r, a_ir = u_r^T (theta_merged - theta_base), u_r^T tau_i     the responses along the left singular vector u_r
    s_ir      = <a_r, a_ir> / |a_ir|^2                             how much of its own response task i finds there
    gamma_r   = sum_i |w_i| / sum_i |w_i| max(alpha, s_ir)
    theta     = theta_merged + U diag(gamma - 1) U^T (theta_merged - theta_base)

With `alpha` 1 singular values only shrink, where tasks find more than their own. A smaller alpha lets those also grow,
up to 1 / alpha, of which the tasks find less. Two copies of a task added up give that task.

Divergences:
- The formula is that of FusionBench's implementation of algorithm 1. The authors' own code divides by
  max(alpha, mean_i s_ir), only where all s_ir are above 0.
- A response below 1e-6 of the task vector's length is rounding, and counts as s_ir = 0. Taken as it is, a task that
  has nothing to do with a direction could erase it.
- The tasks count by the weights that they were merged with; the paper has none.
- Norms, biases, embeddings and heads stay as merged; so does a matrix that holds NaN or infinity.
"""

from collections.abc import Iterable, Sequence
from functools import partial

import torch

from pipelines.merge.reads import Read, TensorInputs, inputs_of, spans, stored, whole
from pipelines.merge.spectral import BLOCK, RANK, by_matrix, matrix_of, spectrum


def svc(
    base: torch.Tensor,
    tuned: Sequence[torch.Tensor],
    merged: torch.Tensor,
    weights: Sequence[float],
    alpha: float = 1.0,
) -> torch.Tensor:
    """Calibrate what `tuned` was `merged` into, tensors of one shape [..., rows, columns], as fp32."""
    return whole(svc_read(inputs_of(base, tuned), stored(merged), weights, alpha), base.shape)


def svc_read(x: TensorInputs, merged: Read, weights: Sequence[float], alpha: float) -> Read:
    """The calibrated merge. A matrix is decomposed when it is first read."""
    tasks = [index for index, weight in enumerate(weights) if weight]
    if not (x.matrix and tasks):
        return merged

    def compute(index: int) -> torch.Tensor:
        deltas = ((matrix_of(x, partial(x.delta, task), index), abs(weights[task])) for task in tasks)
        return calibrated(matrix_of(x, merged, index), matrix_of(x, x.base, index), deltas, alpha)

    return by_matrix(x, compute)


def calibrated(
    merged: torch.Tensor, base: torch.Tensor, tasks: Iterable[tuple[torch.Tensor, float]], alpha: float
) -> torch.Tensor:
    """One matrix, fp32, calibrated in place. `tasks` are task vectors and weights above 0; one is held at a time."""
    delta = merged - base
    if not delta.isfinite().all():
        return merged
    left = _left(delta)
    overlap, total = torch.zeros(left.shape[1], dtype=torch.float64), 0.0
    for task, weight in tasks:
        if not task.isfinite().all():
            return merged
        overlap += weight * found_again(left, delta, task).clamp(min=alpha)
        total += weight
    change = total / overlap - 1
    left, change = left[:, change != 0], change[change != 0, None]
    for start, stop in spans(delta.shape[1] if len(change) else 0, BLOCK):
        merged[:, start:stop] += left @ (change * (left.T @ delta[:, start:stop].double()))
    return merged


def found_again(left: torch.Tensor, delta: torch.Tensor, task: torch.Tensor) -> torch.Tensor:
    """s_ir for one task and each left singular vector: fp64 [k]."""
    inner = torch.zeros(left.shape[1], dtype=torch.float64)
    square = torch.zeros_like(inner)
    total = 0.0
    for start, stop in spans(delta.shape[1], BLOCK):
        columns = task[:, start:stop].double()
        own = left.T @ columns
        inner += (left.T @ delta[:, start:stop].double() * own).sum(1)
        square += own.square().sum(1)
        total += columns.square().sum().item()
    return torch.where(square > RANK**2 * total, inner / square, 0.0)


def _left(matrix: torch.Tensor) -> torch.Tensor:
    """The left singular vectors of a matrix: fp64 [rows, k]."""
    vectors, values, wide = spectrum(matrix)
    return vectors if wide else matrix.double() @ (vectors / values)
