"""What the spectral methods share: task vectors matrix by matrix, and decompositions of one matrix in fp64.

No singular value decomposition is computed: the Gram matrix of the smaller side has the same singular vectors, its
eigenvalues are the squares. In fp64 that resolves singular values down to RANK of the largest one, and what is below
is the rounding of fp32 inputs, so it counts as 0.
"""

import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock
from typing import NamedTuple

import torch

from pipelines.merge.gram import READ
from pipelines.merge.linear import mean_read
from pipelines.merge.reads import Read, TensorInputs, spans

RANK = 1e-6
"""Share of the largest singular value below which one is rounding."""
BLOCK = 1 << 10
"""Rows that are multiplied in fp64 at once. A constant: the product of another number may be rounded differently."""
KEPT = 2 * (os.cpu_count() or 1)
"""Matrices of a stack that are kept at once: a thread that reads in order needs no more than two."""


class Spectrum(NamedTuple):
    """A matrix of rank k by the singular vectors of its smaller side: fp64.

    `vectors` is [smaller side, k], with the rows of the matrix on that side where `wide`; `values` are the singular
    values, descending.
    """

    vectors: torch.Tensor
    values: torch.Tensor
    wide: bool


def spectrum(matrix: torch.Tensor) -> Spectrum:
    """The singular values of a finite matrix that are none of rounding, and its singular vectors."""
    wide = matrix.shape[0] < matrix.shape[1]
    tall = matrix.T if wide else matrix
    squares = torch.zeros((tall.shape[1], tall.shape[1]), dtype=torch.float64)
    for start, stop in spans(len(tall), BLOCK):
        block = tall[start:stop].double()
        squares += block.T @ block
    eigenvalues, vectors = torch.linalg.eigh(squares)
    largest = eigenvalues[-1:].clamp(min=0)
    rank = int((eigenvalues > RANK**2 * largest).sum())
    kept = slice(len(eigenvalues) - rank, None)
    return Spectrum(vectors[:, kept].flip(1), eigenvalues[kept].flip(0).sqrt(), wide)


def apply(matrix: torch.Tensor, found: Spectrum, factors: torch.Tensor) -> torch.Tensor:
    """The matrix, fp32, with its singular values multiplied by `factors` [k]; all other directions become 0."""
    inner = (found.vectors * factors) @ found.vectors.T
    result = torch.empty_like(matrix)
    tall, into = (matrix.T, result.T) if found.wide else (matrix, result)
    for start, stop in spans(len(tall), BLOCK):
        into[start:stop] = tall[start:stop].double() @ inner
    return result


def task_sum(x: TensorInputs, weights: Sequence[float], index: int) -> torch.Tensor:
    """sum_i w_i tau_i of one matrix of the stack: fp32 [rows, columns]."""
    first, size = index * _size(x), _size(x)
    total = torch.zeros(size)
    for start, stop in spans(size, READ):
        for model, weight in enumerate(weights):
            total[start:stop] += x.delta(model, first + start, first + stop) * weight
    return total.view(x.shape[-2:])


def matrix_of(x: TensorInputs, read: Read, index: int) -> torch.Tensor:
    """One matrix of the stack from what reads all of it: fresh fp32 [rows, columns]."""
    first, size = index * _size(x), _size(x)
    values = torch.empty(size)
    for start, stop in spans(size, READ):
        values[start:stop] = read(first + start, first + stop)
    return values.view(x.shape[-2:])


def by_matrix(x: TensorInputs, compute: Callable[[int], torch.Tensor]) -> Read:
    """Elements of matrices that `compute` gives by their place in the stack, each when it is first read.

    Threads that need the same matrix wait for the first of them to compute it.
    """
    size = _size(x)
    slots: OrderedDict[int, _Once] = OrderedDict()
    lock = Lock()

    def matrix(index: int) -> torch.Tensor:
        with lock:
            slot = slots.setdefault(index, _Once())
            slots.move_to_end(index)
            if len(slots) > KEPT:
                slots.popitem(last=False)
        return slot.get(lambda: compute(index).reshape(-1))

    def read(start: int, stop: int) -> torch.Tensor:
        pieces = []
        for index in range(start // size, -(-stop // size)):
            first = index * size
            pieces.append(matrix(index)[max(start - first, 0) : stop - first])
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    return read


def added(x: TensorInputs, read: Read, lambda_: float) -> Read:
    """base + lambda times what `read` gives."""
    return lambda start, stop: x.kernels.add(x.base(start, stop), read(start, stop).clone()[None], [1.0], lambda_)


def average(x: TensorInputs, weights: Sequence[float], lambda_: float) -> Read:
    """base + lambda times the weighted mean of the task vectors, for what is no matrix."""
    total = sum(weights)
    if total == 0:
        return x.base
    if lambda_ == 1:
        return mean_read(x.values, weights, x.kernels)
    shares = [weight / total for weight in weights]

    def read(start: int, stop: int) -> torch.Tensor:
        base, deltas = x.base_and_deltas(start, stop)
        return x.kernels.add(base, deltas, shares, lambda_)

    return read


class _Once:
    """A tensor that is computed by the first who asks for it."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.found: torch.Tensor | None = None

    def get(self, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        with self.lock:
            if self.found is None:
                self.found = compute()
            return self.found


def _size(x: TensorInputs) -> int:
    return x.shape[-2] * x.shape[-1]
