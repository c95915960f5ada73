"""An adapter as a source of a merge: what it makes of each tensor of its base, exactly."""

from collections.abc import Mapping
from typing import NamedTuple

import torch

from pipelines.errors import Problem
from pipelines.hf.shards import Weights
from pipelines.merge.adapters.dora import dora_read
from pipelines.merge.adapters.low_rank import LowRank
from pipelines.merge.kernels import plus
from pipelines.merge.reads import Read, stored

__all__ = ["Adapter", "Factors", "LowRank"]


class Factors(NamedTuple):
    """delta W of one tensor as stored: scale * B A, transposed where the tensor is [in, out] or an embedding.

    `a`, `b` and `lengths`, those of a DoRA, are names in the adapter's file.
    """

    a: str
    b: str
    scale: float
    transposed: bool
    embedding: bool = False
    lengths: str = ""


class Adapter(NamedTuple):
    """A checked adapter: `factors` by the name of the tensor that they change.

    `whole` maps tensors that it replaces (modules_to_save, trained biases) to their names in its file.
    """

    name: str
    key: str
    weights: Weights
    factors: Mapping[str, Factors]
    whole: Mapping[str, str]
    base_named: str

    def low_rank(self, tensor: str) -> LowRank | None:
        """The task vector of a tensor where it is a low-rank product, or None."""
        found = self.factors.get(tensor)
        return None if found is None or found.lengths or tensor in self.whole else self._product(found)

    def touches(self, tensor: str) -> bool:
        return tensor in self.factors or tensor in self.whole

    def product(self, tensor: str) -> Read | None:
        """The task vector, computed from the matrices and not by subtraction; None where that is the only way."""
        if not self.touches(tensor):
            return lambda start, stop: torch.zeros(stop - start)
        product = self.low_rank(tensor)
        return product.read if product else None

    def values(self, tensor: str, base: Read) -> Read:
        """The adapted tensor: base + delta, rounded once."""
        under = stored(self.weights.tensor(self.whole[tensor])) if tensor in self.whole else base
        found = self.factors.get(tensor)
        if found is None:
            return under
        product = self._product(found)
        if found.lengths:
            return dora_read(under, product, self._matrix(found.lengths).view(-1), found.transposed)
        return lambda start, stop: plus(under(start, stop), product.read(start, stop))

    def beyond_products(self) -> list[Problem]:
        """Why the adapter is more than low-rank products, if it is."""
        found = []
        if any(factors.lengths for factors in self.factors.values()):
            found.append(("is a DoRA adapter, whose magnitudes are no low-rank product", ""))
        if self.whole:
            found.append(("carries whole tensors besides its low-rank matrices", next(iter(self.whole))))
        fix = "Use a method that merges models, such as task_arithmetic"
        return [Problem(self.name, what, got, fix) for what, got in found]

    def _product(self, found: Factors) -> LowRank:
        a, b = self._matrix(found.a), self._matrix(found.b)
        if found.transposed:
            return LowRank(a.T.contiguous(), b.T.contiguous(), found.scale)
        return LowRank(b, a, found.scale)

    def _matrix(self, name: str) -> torch.Tensor:
        return self.weights.tensor(name).float().view(self.weights.info(name).shape)
