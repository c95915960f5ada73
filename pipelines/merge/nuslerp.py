"""Nuslerp: along the arc between the task vectors of two models.

Source: mergekit's `nuslerp` (no paper).
Formula, with task vectors tau_i = theta_i - theta_base, lengths l_i, angle phi between them, t = w_1 / (w_0 + w_1):
    direction = sin((1 - t) phi) / sin(phi) tau_0 / l_0 + sin(t phi) / sin(phi) tau_1 / l_1
    theta     = theta_base + ((1 - t) l_0 + t l_1) direction

for each tensor as one vector, or each row (`scope: row`). Where the arc is straight or not defined, as in `slerp`, the
result is (1 - t) theta_0 + t theta_1. A weight of 0 gives the other model, and equal models give that model, bitwise.

Divergences: mergekit puts tau_i for tau_i / l_i and no length before, which is the same for equal lengths; otherwise
the length of its result is not between theirs. It takes t = 0.5 where the weights sum to 0; here that is an error.
"""

from collections.abc import Sequence
from functools import partial

import torch

from pipelines.merge.gram import READ, gram
from pipelines.merge.kinds import Nuslerp
from pipelines.merge.linear import mean_read
from pipelines.merge.reads import Read, TensorInputs, inputs_of, spans, whole
from pipelines.merge.slerp import arc


def nuslerp(
    base: torch.Tensor, tuned: Sequence[torch.Tensor], weights: Sequence[float], scope: str = "tensor"
) -> torch.Tensor:
    """Merge two `tuned` into `base`, tensors of one shape, as fp32. ValueError when the weights sum to 0."""
    method = Nuslerp.model_validate({"kind": "nuslerp", "scope": scope})
    return whole(nuslerp_read(inputs_of(base, tuned), weights, method), base.shape)


def nuslerp_read(x: TensorInputs, weights: Sequence[float], method: Nuslerp) -> Read:
    """The base and the point on the arc. Reads both task vectors at once."""
    if 0 in weights:
        return mean_read(x.values, weights, x.kernels)
    t = weights[1] / sum(weights)
    if method.scope == "row" and len(x.shape) > 1:
        return _rows_read(x, *_coefficients(*_row_products(x), t))
    products = gram([partial(x.delta, 0), partial(x.delta, 1)], x.elements)
    shares = _coefficients(products[0, 0], products[0, 1], products[1, 1], t)
    return mean_read([x.base, *x.values], [share.item() for share in shares], x.kernels)


def _coefficients(
    first: torch.Tensor, inner: torch.Tensor, second: torch.Tensor, t: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What the base and the two models are multiplied with; they sum to 1."""
    straight, along, across = arc(first, inner, second, t)
    length = (1 - t) * first.sqrt() + t * second.sqrt()
    along = torch.where(straight, 1 - t, along * length / first.sqrt())
    across = torch.where(straight, t, across * length / second.sqrt())
    return torch.where(straight, 0.0, 1 - along - across), along, across


def _row_products(x: TensorInputs) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The inner products <0,0>, <0,1> and <1,1> of each row of the task vectors: fp64 [rows] each."""
    columns = x.shape[-1]
    found = []
    for start, stop in spans(x.elements, max(READ // max(columns, 1), 1) * max(columns, 1)):
        first, second = (x.delta(index, start, stop).view(-1, columns).double() for index in range(2))
        found.append(torch.stack([(first * first).sum(1), (first * second).sum(1), (second * second).sum(1)]))
    one, two, three = torch.cat(found, 1) if found else torch.empty(3, 0, dtype=torch.float64)
    return one, two, three


def _rows_read(x: TensorInputs, base: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> Read:
    """The combination with coefficients of its own for each row; `first` follows from the other two."""
    ours, theirs = base.float(), second.float()
    columns = x.shape[-1]

    def read(start: int, stop: int) -> torch.Tensor:
        row = torch.arange(start, stop).div_(columns, rounding_mode="floor")
        origin, other = (values(start, stop) for values in x.values)
        merged = origin - (origin - other) * theirs[row]
        return torch.where(ours[row] == 0, merged, merged - (origin - x.base(start, stop)) * ours[row])

    return read
