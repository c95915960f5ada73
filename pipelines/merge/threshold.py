"""The k-th largest magnitude of a tensor, exactly, without holding the tensor.

The bits of a non-negative fp32 number, read as an integer, have the order of the numbers, so integers are selected. Of
a large tensor a sample brackets the answer, and one pass counts what lies above the bracket and keeps what lies inside
it. When the answer is not inside, the bracket is widened.
"""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch

from pipelines.merge import kernels
from pipelines.merge.reads import CHUNK, Read, TensorInputs, spans

Bits = npt.NDArray[np.int32]
Bracket = Callable[[torch.Tensor, int, int, torch.Tensor], tuple[int, int]]

SMALL = 1 << 18
"""Elements up to which all magnitudes of a tensor are put into one buffer to find the threshold."""
SAMPLE = 1 << 16
"""About how many elements of a larger tensor are sampled first."""
LARGEST = np.iinfo(np.int32).max


def threshold(delta: Read, size: int, k: int, bracket: Bracket = kernels.reference.bracket) -> float:
    """The k-th largest magnitude of the `size` elements of a Read whose slices are fresh."""
    if size <= SMALL:
        return _float(_kth(_magnitudes(delta(0, size)), k))
    if k == size:
        return _float(min(int(_magnitudes(delta(start, stop)).min()) for start, stop in spans(size)))
    sample = _sample(delta, size)
    share = k / size
    error = (share * (1 - share) / len(sample)) ** 0.5
    for width in (5 * error, 80 * error, 1.0):
        low = max(1, _quantile(sample, 1 - share - width))
        high = max(low, _quantile(sample, 1 - share + width))
        room = int(size * np.count_nonzero((sample >= low) & (sample <= high)) / len(sample) * 1.25)
        above, inside = _count(delta, size, low, high, bracket, room)
        if 0 < k - above <= len(inside):
            return _float(_kth(inside, k - above))
        if k > above and low == 1:
            return 0.0
    raise AssertionError("the widest bracket holds every magnitude")


def row_thresholds(x: TensorInputs, index: int, density: float) -> torch.Tensor:
    """The k-th largest magnitude of every row of a task vector, k = max(1, int(density columns)): [rows]."""
    columns = x.shape[-1]
    k = max(1, int(density * columns))
    block = max(1, CHUNK // columns) * columns
    found = []
    for start, stop in spans(x.elements, block):
        rows = x.delta(index, start, stop).abs_().view(-1, columns)
        found.append(rows.kthvalue(columns - k + 1, dim=1).values)
    return torch.cat(found)


def _magnitudes(values: torch.Tensor) -> Bits:
    """|values| as ordered integers, in place."""
    return values.view(torch.int32).bitwise_and_(LARGEST).cpu().numpy()


def _sample(delta: Read, size: int) -> Bits:
    """Sorted magnitudes from an eighth of every slice, at an odd stride so that all columns are met."""
    stride = size // (8 * SAMPLE) | 1
    # A view would keep the whole run in memory.
    return np.sort(np.concatenate([_magnitudes(delta(start, stop))[::stride].copy() for start, stop in _runs(size)]))


def _runs(size: int) -> Iterator[tuple[int, int]]:
    """An eighth of every slice, all eight in turn: always the same one would be the same columns of wide rows."""
    for index, (start, stop) in enumerate(spans(size)):
        length = (stop - start + 7) // 8
        first = start + length * ((3 * index + index // 8) % 8)
        yield min(first, stop - 1), min(first + length, stop)


def _count(delta: Read, size: int, low: int, high: int, bracket: Bracket, room: int) -> tuple[int, Bits]:
    """How many magnitudes are above `high`, and those in [low, high], of which about `room` are expected.

    One buffer holds them: small pieces between the slices would keep these from being used again.
    """
    above, within = 0, 0
    inside = torch.empty(room + 2 * CHUNK, dtype=torch.int32)
    for start, stop in spans(size):
        if within + CHUNK >= len(inside):
            inside = torch.cat([inside, torch.empty_like(inside)])
        more, found = bracket(delta(start, stop), low, high, inside[within:])
        above, within = above + more, within + found
    return above, inside[:within].numpy()


def _quantile(ordered: Bits, share: float) -> int:
    """The value at a share of a sorted sample; beyond its ends, beyond all values."""
    if share <= 0:
        return 0
    return LARGEST if share >= 1 else int(ordered[int(share * len(ordered))])


def _kth(values: Bits, k: int) -> int:
    """The k-th largest; reorders `values`."""
    at = len(values) - k
    values.partition(at)
    return int(values[at])


def _float(bits: int) -> float:
    return float(np.int32(bits).view(np.float32))
