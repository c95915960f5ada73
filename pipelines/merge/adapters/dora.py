"""DoRA: the adapted weight, whose output directions have trained lengths.

Paper: Liu et al. 2024, "DoRA", arXiv 2402.09353: W' = m (W + s B A) / ||W + s B A||, with a norm and a length m for
each output. Directions of length 0 stay 0, where peft divides by 0.
"""

import torch

from pipelines.merge.adapters.low_rank import BLOCK, LowRank
from pipelines.merge.reads import Read, spans


def dora_read(base: Read, product: LowRank, lengths: torch.Tensor, transposed: bool) -> Read:
    """The adapted tensor. `lengths` holds one number a row; with `transposed`, where outputs are columns, one a column.

    The norms of columns are summed at once, which reads the base; those of rows are taken as they are read.
    """
    columns = product.right.shape[1]
    size, step = product.left.shape[0] * columns, max(1, BLOCK // columns) * columns

    def directions(start: int, stop: int) -> torch.Tensor:
        return torch.add(base(start, stop), product.read(start, stop)).view(-1, columns)

    def scaled(start: int) -> torch.Tensor:
        rows = directions(start, min(start + step, size))
        if transposed:
            return rows.mul_(factors).view(-1)
        length = lengths[start // columns : start // columns + len(rows)]
        return rows.mul_(_factors(length, rows.double().square().sum(1))[:, None]).view(-1)

    if transposed:
        squares = torch.zeros(columns, dtype=torch.float64)
        for span in spans(size, step):
            squares += directions(*span).double().square().sum(0)
        factors = _factors(lengths, squares)

    def read(start: int, stop: int) -> torch.Tensor:
        first = start // step * step
        values = torch.cat([scaled(at) for at in range(first, stop, step)])
        return values[start - first : stop - first]

    return read


def _factors(lengths: torch.Tensor, squares: torch.Tensor) -> torch.Tensor:
    return torch.where(squares > 0, lengths.double() / squares.sqrt(), 0.0).float()
