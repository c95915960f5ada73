"""Sums of low-rank products that stay low-rank: side by side, cut to a rank, or merged in a basis that they share.

`svd` is best in Frobenius norm (Eckart and Young 1936). `knots` is Stoica et al. 2024, "Model merging with SVD to tie
the KnOTS", arXiv 2410.19735: with [dW_1 .. dW_N] = U S [V_1 .. V_N], the merge is U merge(S V_1, .., S V_N), here by
TIES. No product is ever multiplied out: QR takes an orthonormal basis out of each factor, and the SVD is that of the
small core between them, in fp64.

Divergences: peft's `svd` decomposes the dense sum, with the same result. The paper of KnOTS writes merge(V_i); its
authors' code, like ours, merges S V_i, so that the trim keeps what is large in the weights; it trims over the whole
model, we by tensor. Cutting a merge in the shared basis to a rank is ours.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from pipelines.merge.ties import ties

BLOCK = 1 << 16
"""Elements of a product computed at once. A constant: a product of other rows may be rounded differently."""
EPSILON = float(torch.finfo(torch.float32).eps)


class LowRank(NamedTuple):
    """scale * left @ right, with left [rows, r] and right [r, columns] in fp32."""

    left: torch.Tensor
    right: torch.Tensor
    scale: float = 1.0

    @property
    def rank(self) -> int:
        return self.right.shape[0]

    @property
    def block(self) -> int:
        """Elements that `read` computes together: whole rows."""
        columns = self.right.shape[1]
        return max(1, BLOCK // columns) * columns

    def read(self, start: int, stop: int) -> torch.Tensor:
        """Elements [start, stop) of the flattened product: the same numbers however it is sliced."""
        first = start // self.block * self.block
        blocks = [self._block(at) for at in range(first, stop, self.block)]
        values = blocks[0] if len(blocks) == 1 else torch.cat(blocks)
        return values[start - first : stop - first]

    def _block(self, at: int) -> torch.Tensor:
        columns = self.right.shape[1]
        rows = slice(at // columns, (at + self.block) // columns)
        return torch.mm(self.left[rows], self.right).mul_(self.scale).view(-1)

    def square(self) -> float:
        """Sum of the squares of all elements, without computing them."""
        left, right = self.left.double(), self.right.double()
        return float(((left.T @ left) * (right @ right.T)).sum()) * self.scale**2


class Cut(NamedTuple):
    """A product of limited rank, the squared Frobenius norm of what it was cut from, and how much of that is gone."""

    product: LowRank
    energy: float
    discarded: float


def cat(products: Sequence[LowRank], weights: Sequence[float]) -> LowRank:
    """sum_i w_i dW_i exactly, of rank sum_i r_i; scales and weights are in the left factor, rounded once."""
    left, right = _side_by_side(products, weights)
    return LowRank(left.float(), right.float())


def svd(products: Sequence[LowRank], weights: Sequence[float], rank: int) -> Cut:
    """The matrix of at most `rank` that is nearest to sum_i w_i dW_i; both factors get the root of each value."""
    return _cut(*_side_by_side(products, weights), rank)


def knots(
    products: Sequence[LowRank],
    weights: Sequence[float],
    density: float,
    lambda_: float = 1.0,
    rank: int | None = None,
) -> Cut:
    """The products merged by TIES on their coordinates in one basis, then cut to `rank` where there is one."""
    basis, factors = torch.linalg.qr(torch.cat([product.left.double() * product.scale for product in products], 1))
    inner = factors.split([product.rank for product in products], 1)
    outer = [torch.linalg.qr(product.right.double().T) for product in products]
    core = torch.cat([left @ right.R.T for left, right in zip(inner, outer, strict=True)], 1)
    u, s, v = torch.linalg.svd(core, full_matrices=False)
    # Directions that only rounding of the fp32 factors has made are no shared basis.
    held = s >= s[0] * max(core.shape) * EPSILON
    blocks = (s[held, None] * v[held]).split([right.Q.shape[1] for right in outer], 1)
    parts = [(block @ right.Q.T).float() for block, right in zip(blocks, outer, strict=True)]
    merged = ties(torch.zeros_like(parts[0]), parts, weights, density, lambda_)
    left = basis @ u[:, held]
    if rank is not None and rank < len(merged):
        return _cut(left, merged.double(), rank)
    return Cut(LowRank(left.float(), merged), float(merged.double().square().sum()), 0.0)


def _side_by_side(products: Sequence[LowRank], weights: Sequence[float]) -> tuple[torch.Tensor, torch.Tensor]:
    lefts = [
        product.left.double() * (weight * product.scale) for product, weight in zip(products, weights, strict=True)
    ]
    return torch.cat(lefts, 1), torch.cat([product.right.double() for product in products])


def _cut(left: torch.Tensor, right: torch.Tensor, rank: int) -> Cut:
    """left @ right cut to a rank, by QR of both factors and the SVD of the core."""
    (before, inner), (after, outer) = torch.linalg.qr(left), torch.linalg.qr(right.T)
    u, s, v = torch.linalg.svd(inner @ outer.T, full_matrices=False)
    root, squares = s[:rank].sqrt(), s.square()
    product = LowRank(
        (before @ (u[:, :rank] * root)).float(), (root[:, None] * (v[:rank] @ after.T)).float().contiguous()
    )
    return Cut(product, float(squares.sum()), float(squares[rank:].sum()))
