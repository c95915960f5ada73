"""TSV-M: the top singular vectors of each task, made orthogonal to those of the others.

Paper: Gargiulo et al. 2024, "Task Singular Vectors", arXiv 2412.00081.
Formula, for each matrix with task vectors tau_i = theta_i - theta_base of N models:
    tau_i ~ U_i diag(s_i) V_i^T, cut to the largest k = max(1, int(density min(rows, columns))) singular values
    U = [U_1 ... U_N], V = [V_1 ... V_N], s = [w_1 s_1 ... w_N s_N]
    theta = theta_base + lambda polar(U) diag(s) polar(V)^T

The polar factor U (U^T U)^(-1/2) is the nearest matrix with orthonormal columns; `density` is 1/N by default.

Divergences:
- Where U has not full rank, as when two tasks share directions, the inverse is a pseudoinverse, so that N copies of
  a model count once. The authors' code completes U with arbitrary directions there.
- The weights scale the singular values; the paper has none.
- Norms, biases, embeddings and heads get lambda times the weighted mean of the task vectors.
- NaN and infinity stay where they are, and their matrix is left the plain sum.
"""

from collections.abc import Sequence
from functools import partial

import torch

from pipelines.merge.kinds import TsvM
from pipelines.merge.reads import Read, TensorInputs, inputs_of, whole
from pipelines.merge.spectral import added, average, by_matrix, matrix_of, spectrum, task_sum


def tsv_m(
    base: torch.Tensor,
    tuned: Sequence[torch.Tensor],
    weights: Sequence[float],
    lambda_: float = 1.0,
    density: float | None = None,
) -> torch.Tensor:
    """Merge `tuned` into `base`, tensors of one shape [..., rows, columns], as fp32."""
    method = TsvM.model_validate({"kind": "tsv_m", "lambda": lambda_, "density": density})
    return whole(tsv_m_read(inputs_of(base, tuned), weights, method), base.shape)


def tsv_m_read(x: TensorInputs, weights: Sequence[float], method: TsvM) -> Read:
    """The merge. A matrix is decomposed when it is first read."""
    tasks = [index for index, weight in enumerate(weights) if weight]
    if method.lambda_ == 0 or not tasks:
        return x.base
    density = method.density or 1 / len(tasks)
    if not x.matrix:
        return average(x, weights, method.lambda_)
    if len(weights) == 1 and density == 1 and weights[0] * method.lambda_ == 1:
        return x.values[0]
    count = max(1, int(density * min(x.shape[-2:])))

    def compute(index: int) -> torch.Tensor:
        parts = []
        for task in tasks:
            delta = matrix_of(x, partial(x.delta, task), index)
            if not delta.isfinite().all():
                return task_sum(x, weights, index)
            u, s, v = top(delta, count)
            parts.append((u, s * weights[task], v))
        u, s, v = (torch.cat(part, -1) for part in zip(*parts, strict=True))
        return ((polar(u) * s) @ polar(v).T).float()

    return added(x, by_matrix(x, compute), method.lambda_)


def top(matrix: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """At most `count` largest singular values [k] above 0 and their vectors [rows, k] and [columns, k], in fp64."""
    vectors, values, wide = spectrum(matrix)
    vectors, values = vectors[:, :count], values[:count]
    other = (matrix.T if wide else matrix).double() @ (vectors / values)
    return (vectors, values, other) if wide else (other, values, vectors)


def polar(matrix: torch.Tensor) -> torch.Tensor:
    """The nearest matrix with orthonormal columns, or with those of its rank where that is smaller; fp64."""
    found = spectrum(matrix)
    inner = (found.vectors / found.values) @ found.vectors.T
    return inner @ matrix if found.wide else matrix @ inner
