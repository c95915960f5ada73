"""How much of their output space two task vectors share: the overlap of their top left singular vectors.

Subspace iteration with a seeded start (Halko, Martinsson and Tropp 2011, arXiv 0909.4061, algorithm 4.4), a block of
rows in memory at a time; for an adapter exactly, by the QR factors of its two matrices.
"""

import zlib
from collections.abc import Iterator

import torch

from pipelines.merge.adapters.low_rank import LowRank
from pipelines.merge.reads import TensorInputs

VECTORS = 8
_MORE = 8
_ROUNDS = 2
_BLOCK = 1 << 20
_ROUNDING = 1e-5


def left_vectors(x: TensorInputs, index: int, factor: LowRank | None = None) -> torch.Tensor:
    """The top left singular vectors of a model's task vector on a matrix: [rows, at most VECTORS].

    Directions whose singular value is rounding error of the largest are left out, so a zero matrix has none.
    """
    if factor is not None:
        left, right = torch.linalg.qr(factor.left.double()), torch.linalg.qr(factor.right.double().T)
        return _top(left.Q, left.R @ right.R.T)
    rows, columns = x.shape
    width = min(VECTORS + _MORE, rows, columns)
    draw = torch.Generator().manual_seed(zlib.crc32(x.name.encode()))
    found = _times(x, index, torch.randn(columns, width, generator=draw))
    for _ in range(_ROUNDS):
        back = _transposed_times(x, index, torch.linalg.qr(found).Q)
        found = _times(x, index, torch.linalg.qr(back).Q)
    basis = torch.linalg.qr(found).Q
    return _top(basis.double(), _transposed_times(x, index, basis).T.double())


def overlap_of(first: torch.Tensor, second: torch.Tensor) -> tuple[float, float]:
    """|U_1^T U_2|^2 / k in [0, 1], k the smaller count, and what random subspaces have in the mean."""
    counts = first.shape[1], second.shape[1]
    shared = float((first.T @ second).square().sum()) / min(counts)
    return shared, max(counts) / first.shape[0]


def _top(basis: torch.Tensor, core: torch.Tensor) -> torch.Tensor:
    """The top left singular vectors of basis @ core."""
    left, values, _ = torch.linalg.svd(core, full_matrices=False)
    kept = min(VECTORS, int((values > _ROUNDING * values[0]).sum()))
    return torch.mm(basis, left[:, :kept])


def _blocks(x: TensorInputs, index: int) -> Iterator[tuple[slice, torch.Tensor]]:
    """The task vector by blocks of rows."""
    rows, columns = x.shape
    step = max(1, _BLOCK // columns)
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        yield slice(start, stop), x.delta(index, start * columns, stop * columns).view(-1, columns)


def _times(x: TensorInputs, index: int, right: torch.Tensor) -> torch.Tensor:
    return torch.cat([block @ right for _, block in _blocks(x, index)])


def _transposed_times(x: TensorInputs, index: int, left: torch.Tensor) -> torch.Tensor:
    total = torch.zeros(x.shape[1], left.shape[1])
    for rows, block in _blocks(x, index):
        total += block.T @ left[rows]
    return total
