"""Model Stock: from the base towards the mean of the models, as far as their angle says.

Paper: Jang et al. 2024, "Model Stock: All we need is just a few fine-tuned models", arXiv 2403.19522.
Formula, for each tensor with task vectors tau_i = theta_i - theta_base of N models:
    c     = mean over pairs of cos(tau_i, tau_j)
    t     = N c / (1 + (N - 1) c), for two models 2 c / (1 + c)
    theta = t mean_i theta_i + (1 - t) theta_base

Task vectors at right angles give the base, equal models give that model, bitwise.

Divergences:
- t is kept in [0, 1]: where task vectors contradict each other on the whole (c < 0), the result is the base. The
  paper's formula, as in mergekit, would go from the base away from the mean, without bound.
- A task vector of 0 has a cosine of 0 with all others. mergekit also shrinks the cosine where the product of two
  lengths is below 1e-6, as in most norms and biases.
- Each tensor is one vector; mergekit can take each row as one.
"""

from collections.abc import Sequence
from functools import partial

import torch

from pipelines.merge.gram import gram
from pipelines.merge.kinds import ModelStock
from pipelines.merge.linear import mean_read
from pipelines.merge.reads import Read, TensorInputs, inputs_of, whole


def model_stock(base: torch.Tensor, tuned: Sequence[torch.Tensor]) -> torch.Tensor:
    """Merge two or more `tuned` with `base`, tensors of one shape, as fp32."""
    method = ModelStock(kind="model_stock")
    return whole(model_stock_read(inputs_of(base, tuned), [1.0] * len(tuned), method), base.shape)


def model_stock_read(x: TensorInputs, weights: Sequence[float], method: ModelStock) -> Read:
    """The point between the base and the mean. Reads every task vector at once."""
    count = len(x.values)
    share = ratio(gram([partial(x.delta, index) for index in range(count)], x.elements))
    return mean_read([x.base, *x.values], [1 - share, *[share / count] * count], x.kernels)


def ratio(products: torch.Tensor) -> float:
    """t for the inner products of the task vectors, fp64 [models, models]."""
    if not products.isfinite().all():
        return 0.5  # Reads all of them, so that what is not finite shows up where it is.
    count = len(products)
    squares = products.diagonal()
    if not squares.any():
        return 1.0
    cosines = (products / (squares[:, None] * squares).sqrt()).nan_to_num(0.0, 0.0, 0.0)
    pairs = cosines.tril(-1).sum().item() / (count * (count - 1) / 2)
    return min(count * pairs / (1 + (count - 1) * pairs), 1.0) if pairs > 0 else 0.0
