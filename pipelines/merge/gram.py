"""The inner products of the models, and the combination of models that is computed from them.

A geometric method merges one tensor into a linear combination of its inputs, whose coefficients follow from the inner
products alone. So it reads the tensor twice, once for the products and once for the combination, and holds none of it.
"""

from collections.abc import Sequence

import numpy as np
import torch

from pipelines.merge.kernels import Kernels
from pipelines.merge.linear import mean_read
from pipelines.merge.reads import Read, spans

BLOCK = 1 << 13
"""Elements summed at once. A constant, and fewer than BLAS splits over threads, so that no sum depends on either."""
READ = 8 * BLOCK
"""Elements read at once."""


def gram(reads: Sequence[Read], size: int) -> torch.Tensor:
    """Inner products of vectors of `size` elements: fp64 [n, n]. Equal vectors have equal products, bit for bit."""
    total = np.zeros((len(reads), len(reads)))
    for start, stop in spans(size, READ):
        rows = torch.stack([read(start, stop) for read in reads])
        for first, last in spans(stop - start, BLOCK):
            block = rows[:, first:last].double().numpy()
            for i, row in enumerate(block):
                for j in range(i + 1):
                    total[i, j] += np.dot(row, block[j])
    return torch.from_numpy(np.tril(total) + np.tril(total, -1).T)


def combined(reads: Sequence[Read], coefficients: Sequence[float], chosen: Kernels) -> Read:
    """sum_i c_i theta_i in fp32. Where the coefficients sum to 1, equal numbers give that number to the last bit."""
    if np.float32(sum(coefficients)) == 1:
        return mean_read(reads, coefficients, chosen)
    parts = [(read, each) for read, each in zip(reads, coefficients, strict=True) if each]

    def read(start: int, stop: int) -> torch.Tensor:
        total = torch.zeros(stop - start)
        for part, each in parts:
            total += part(start, stop) * each
        return total

    return read
