"""The one shape that tensors have inside a merge: a function that gives any slice of them in fp32.

A `Read` maps (start, stop) to the elements [start, stop) of the flattened tensor. A merge method turns the inputs of a
tensor into the Read of its output, so the same code merges tensors in a notebook and files far larger than memory.
Reads are called from several threads at once, in any order. What a Read returns may be the mapped file itself: never
write into it, unless its docstring says that it is fresh.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch

from pipelines.merge import kernels
from pipelines.merge.kernels import Kernels

Read = Callable[[int, int], torch.Tensor]

CHUNK = 1 << 15
"""Elements handled at a time: small enough for the temporaries to stay in a core's cache."""


class TensorInputs(NamedTuple):
    """One tensor of all models.

    `models` says who they are, whatever else is merged. `values` are their own numbers. `products` are exact task
    vectors, where a model is an adapter; a None in it means values - base. `matrix` is true for the weight of a linear
    map: no embedding, head, norm or bias. It may be a stack of matrices [..., rows, columns]. `bounds` are the smallest
    magnitudes of each task vector that survive, where they were found over the whole model.
    """

    name: str
    shape: tuple[int, ...]
    models: tuple[str, ...]
    base: Read
    values: tuple[Read, ...]
    products: tuple[Read | None, ...]
    matrix: bool
    kernels: Kernels = kernels.reference
    bounds: tuple[float, ...] | None = None

    @property
    def elements(self) -> int:
        return torch.Size(self.shape).numel()

    @property
    def vector(self) -> bool:
        """True for norms and biases, which are too small for a share of them to mean something."""
        return len(self.shape) < 2

    def delta(self, index: int, start: int, stop: int) -> torch.Tensor:
        """The task vector of one model, theta - base (Ilharco et al. 2022, arXiv 2212.04089). Fresh."""
        product = self.products[index]
        if product is not None:
            return product(start, stop).clone()
        return torch.sub(self.values[index](start, stop), self.base(start, stop))

    def deltas(self, start: int, stop: int, base: torch.Tensor | None = None) -> torch.Tensor:
        """The task vectors of all models: [models, stop - start], fresh. `base` saves reading it again."""
        rows = torch.empty((len(self.values), stop - start))
        base = self.base(start, stop) if base is None else base
        for row, values, product in zip(rows, self.values, self.products, strict=True):
            if product is not None:
                row.copy_(product(start, stop))
            else:
                torch.sub(values(start, stop), base, out=row)
        return rows


def inputs_of(
    base: torch.Tensor, tuned: Sequence[torch.Tensor], name: str = "", chosen: Kernels = kernels.reference
) -> TensorInputs:
    """The inputs of tensors in memory. ValueError when shapes differ."""
    if any(tensor.shape != base.shape for tensor in tuned):
        raise ValueError(f"shapes differ: base {tuple(base.shape)}, tuned {[tuple(tensor.shape) for tensor in tuned]}")
    values = tuple(stored(tensor) for tensor in tuned)
    models = tuple(map(str, range(len(values))))
    unknown = (None,) * len(values)
    return TensorInputs(name, tuple(base.shape), models, stored(base), values, unknown, base.dim() > 1, chosen)


def stored(tensor: torch.Tensor) -> Read:
    """Read a tensor of any float type and shape."""
    flat = tensor.reshape(-1)
    return lambda start, stop: flat[start:stop].float()


def spans(size: int, step: int = CHUNK) -> Iterator[tuple[int, int]]:
    """Neighbouring slices that cover `size` elements."""
    return ((start, min(start + step, size)) for start in range(0, size, step))


def whole(read: Read, shape: Sequence[int]) -> torch.Tensor:
    """All elements at once."""
    size = torch.Size(shape).numel()
    values = torch.empty(size)
    for start, stop in spans(size):
        values[start:stop] = read(start, stop)
    return values.view(tuple(shape))
