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

CHUNK = 1 << 17
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
        out = torch.empty(stop - start)
        self._subtract(index, start, stop, None, out)
        return out

    def deltas(self, start: int, stop: int) -> torch.Tensor:
        """The task vectors of all models: [models, stop - start], fresh."""
        return self.base_and_deltas(start, stop)[1]

    def base_and_deltas(self, start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The base, and the task vectors of all models: [models, stop - start], fresh."""
        flat = [values.flat for values in self.values if isinstance(values, Stored)]
        if isinstance(self.base, Stored) and len(flat) == len(self.values) and not any(self.products):
            return self.kernels.differences([values[start:stop] for values in flat], self.base.flat[start:stop])
        base, rows = self.base(start, stop), torch.empty((len(self.values), stop - start))
        for index, row in enumerate(rows):
            self._subtract(index, start, stop, base, row)
        return base, rows

    def _subtract(self, index: int, start: int, stop: int, base: torch.Tensor | None, out: torch.Tensor) -> None:
        """The task vector of one model into `out`."""
        product, values, origin = self.products[index], self.values[index], self.base
        if product is not None:
            out.copy_(product(start, stop))
        elif isinstance(values, Stored) and isinstance(origin, Stored):
            self.kernels.subtract(values.flat[start:stop], origin.flat[start:stop], out)
        else:
            torch.sub(values(start, stop), origin(start, stop) if base is None else base, out=out)


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


class Stored:
    """Reads a tensor of any float type, which is there as `flat`."""

    def __init__(self, flat: torch.Tensor) -> None:
        self.flat = flat

    def __call__(self, start: int, stop: int) -> torch.Tensor:
        return self.flat[start:stop].float()


def stored(tensor: torch.Tensor) -> Stored:
    """Read a tensor of any float type and shape."""
    return Stored(tensor.reshape(-1))


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
