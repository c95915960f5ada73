"""Iso-C: the sum of the task vectors with all singular values equal.

Paper: Marczak et al. 2025, "No Task Left Behind", arXiv 2502.04959.
Formula, for each matrix with task vectors tau_i = theta_i - theta_base:
    sum_i w_i tau_i = U diag(sigma) V^T, of rank r
    theta           = theta_base + lambda mean(sigma) U V^T

U V^T is the polar factor of the sum. The nuclear norm stays what it was.

Divergences:
- The mean is over the rank r, where the authors' code takes all min(rows, columns) singular values: of a sum that is
  not of full rank, as of adapters, theirs fills the directions that no task has with arbitrary ones.
- The weights scale the sum; the paper has none.
- Norms, biases, embeddings and heads get lambda times the weighted mean of the task vectors.
- NaN and infinity stay where they are, and their matrix is left the plain sum.
"""

from collections.abc import Sequence

import torch

from pipelines.merge.kinds import IsoC
from pipelines.merge.reads import Read, TensorInputs, inputs_of, whole
from pipelines.merge.spectral import added, apply, average, by_matrix, spectrum, task_sum


def iso_c(
    base: torch.Tensor, tuned: Sequence[torch.Tensor], weights: Sequence[float], lambda_: float = 1.0
) -> torch.Tensor:
    """Merge `tuned` into `base`, tensors of one shape [..., rows, columns], as fp32."""
    method = IsoC.model_validate({"kind": "iso_c", "lambda": lambda_})
    return whole(iso_c_read(inputs_of(base, tuned), weights, method), base.shape)


def iso_c_read(x: TensorInputs, weights: Sequence[float], method: IsoC) -> Read:
    """The merge. A matrix is decomposed when it is first read."""
    if method.lambda_ == 0:
        return x.base
    if not x.matrix:
        return average(x, weights, method.lambda_)
    return added(x, by_matrix(x, lambda index: isotropic(task_sum(x, weights, index))), method.lambda_)


def isotropic(matrix: torch.Tensor) -> torch.Tensor:
    """The fp32 matrix with each singular value that is not 0 replaced by their mean."""
    if not matrix.isfinite().all():
        return matrix
    found = spectrum(matrix)
    return apply(matrix, found, found.values.mean() / found.values)
