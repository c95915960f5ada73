"""TIES: trim, elect sign, disjoint mean.

Paper: Yadav et al. 2023, "TIES-Merging", arXiv 2306.01708.
Formula, with task vectors tau_i = theta_i - theta_base, for each element:
    t_i   = tau_i where |tau_i| is among the `density` share of largest magnitudes of its tensor, else 0
    sign  = sign of sum_i w_i t_i, + when the sum is 0
    mean  = sum_A w_i t_i / sum_A w_i over A = {i: t_i has that sign}
    theta = theta_base + lambda mean

Divergences:
- The paper trims over the whole model; here, as in mergekit, each tensor is trimmed by itself.
- Tie rule: all elements at least as large as the k-th largest survive, k = max(1, int(density n)). The authors' code
  does so too; mergekit keeps exactly k and takes any of the equal ones, which differs a lot on bf16 deltas, where
  many are equal.
- The sign is elected by weighted mass, as in mergekit; the paper has no weights.
- Vectors (norms, biases) are not trimmed: n is too small for a quantile to mean something. mergekit trims them.
- Weights are relative: they steer the election and the mean, and doubling all of them changes nothing.
"""

from collections.abc import Sequence
from functools import reduce

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import hardshrink

from pipelines.merge.reads import Read, spans, task_vectors, whole

Bits = npt.NDArray[np.int32]

SMALL = 1 << 18
"""Elements up to which all magnitudes of a tensor are put into one buffer to find the threshold."""
SAMPLE = 1 << 16
"""About how many elements of a larger tensor are sampled first."""
LARGEST, SIGN = np.iinfo(np.int32).max, np.iinfo(np.int32).min
TINY = 1e-30


def ties(
    base: torch.Tensor, tuned: Sequence[torch.Tensor], weights: Sequence[float], density: float, lambda_: float = 1.0
) -> torch.Tensor:
    """Merge `tuned` into `base`, tensors of one shape, as fp32. `density` in [0, 1] survives the trim."""
    start, deltas = task_vectors(base, tuned)
    return whole(ties_read(start, deltas, base.shape, weights, density, lambda_), base)


def ties_read(
    base: Read, deltas: Sequence[Read], shape: Sequence[int], weights: Sequence[float], density: float, lambda_: float
) -> Read:
    """The merge of a base and task vectors. Finds the thresholds at once, which reads every task vector up to twice."""
    size = int(np.prod(shape, dtype=np.int64))
    share = density if len(shape) > 1 else 1.0
    largest = max(weights) or 1.0
    relative = [weight / largest for weight in weights]
    votes = [trim(delta, size, share, weight) for delta, weight in zip(deltas, relative, strict=True)]
    return elect(base, votes, relative, lambda_)


def trim(delta: Read, size: int, density: float, weight: float) -> Read:
    """`weight` times the task vector, with all but its `density` share of largest magnitudes set to 0."""
    if density <= 0:
        return lambda start, stop: torch.zeros(stop - start)
    least = threshold(delta, size, max(1, int(density * size))) if density < 1 and size else 0.0
    # hardshrink keeps what is larger than its bound, and the least itself must survive.
    bound = float(np.nextafter(np.float32(least), np.float32(-1)))

    def read(start: int, stop: int) -> torch.Tensor:
        values = hardshrink(delta(start, stop), bound) if least else delta(start, stop)
        return values if weight == 1 else torch.mul(values, weight, out=values if least else None)

    return read


def elect(base: Read, votes: Sequence[Read], weights: Sequence[float] | None, lambda_: float) -> Read:
    """base + lambda times the sum, element by element, of those votes that have the sign of the sum of all votes.

    A vote is a task vector times its weight. With `weights` the sum is divided by the weights of those that had the
    sign.
    """

    def read(start: int, stop: int) -> torch.Tensor:
        cast = [vote(start, stop) for vote in votes]
        sign_bit = _sign_bit(cast)
        total = torch.zeros_like(cast[0])
        mass = torch.zeros_like(cast[0]) if weights else None
        for index, vote in enumerate(cast):
            # Flipped where the elected sign is minus, what agrees is positive.
            agreeing = torch.bitwise_xor(vote.view(torch.int32), sign_bit).view(torch.float32).relu_()
            total.add_(agreeing)
            if weights and mass is not None:
                mass.add_(agreeing.sign_().mul_(weights[index]))
        if mass is not None:
            total.div_(mass.clamp_(min=TINY))
        total.view(torch.int32).bitwise_xor_(sign_bit)
        return total.mul_(lambda_).add_(base(start, stop))

    return read


def _sign_bit(votes: Sequence[torch.Tensor]) -> torch.Tensor:
    """The sign bit of the sum of the votes: 0, for plus, where they cancel."""
    return torch.bitwise_and(reduce(torch.add, votes).view(torch.int32), SIGN)


def threshold(delta: Read, size: int, k: int) -> float:
    """The k-th largest magnitude of a tensor of `size` elements, exactly.

    The bits of a non-negative fp32 number, read as an integer, have the order of the numbers, so integers are
    selected. A large tensor is never held: a sample brackets the answer, one pass counts what lies above the bracket
    and keeps what lies inside it. When the answer is not inside, the bracket is widened.
    """
    if size <= SMALL:
        return _float(_kth(_magnitudes(delta, 0, size).copy(), k))
    sample = _sample(delta, size)
    share = k / size
    error = (share * (1 - share) / len(sample)) ** 0.5
    for width in (8 * error, 80 * error, 1.0):
        low = max(1, _quantile(sample, 1 - share - width))
        high = max(low, _quantile(sample, 1 - share + width))
        above, inside = _bracket(delta, size, low, high)
        if 0 < k - above <= len(inside):
            return _float(_kth(inside, k - above))
        if k > above and low == 1:
            return 0.0
    raise AssertionError("the widest bracket holds every magnitude")


def _magnitudes(delta: Read, start: int, stop: int) -> Bits:
    """|delta| as ordered integers."""
    return torch.bitwise_and(delta(start, stop).view(torch.int32), LARGEST).numpy()


def _sample(delta: Read, size: int) -> Bits:
    """Sorted magnitudes from an eighth of every slice, at an odd stride so that all columns are met."""
    stride = size // (8 * SAMPLE) | 1
    runs = ((start, start + (stop - start + 7) // 8) for start, stop in spans(size))
    # A view would keep the whole run in memory.
    return np.sort(np.concatenate([_magnitudes(delta, start, stop)[::stride].copy() for start, stop in runs]))


def _bracket(delta: Read, size: int, low: int, high: int) -> tuple[int, Bits]:
    """How many magnitudes are above `high`, and those in [low, high]."""
    above, inside = 0, []
    for start, stop in spans(size):
        bits = _magnitudes(delta, start, stop)
        above += int(np.count_nonzero(bits > high))
        # Unsigned, what is below `low` wraps round to large numbers: one comparison does for two.
        within = (bits - np.int32(low)).view(np.uint32) <= np.uint32(high - low)
        inside.append(bits.compress(within))
    return above, np.concatenate(inside)


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
