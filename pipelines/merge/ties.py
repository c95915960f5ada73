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

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import hardshrink

from pipelines.merge.reads import CHUNK, Read, spans, task_vectors, whole

Bits = npt.NDArray[np.int32]

SMALL = 1 << 18
"""Elements up to which all magnitudes of a tensor are put into one buffer to find the threshold."""
SAMPLE = 1 << 16
"""About how many elements of a larger tensor are sampled first."""
LARGEST = np.iinfo(np.int32).max


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
    trimmed = [trim(delta, size, share) for delta in deltas]
    return elect(base, trimmed, weights, lambda_, mean=True)


def trim(delta: Read, size: int, density: float) -> Read:
    """The task vector with all but its `density` share of largest magnitudes set to 0."""
    if density >= 1 or not size:
        return delta
    if density <= 0:
        return lambda start, stop: torch.zeros(stop - start)
    least = threshold(delta, size, max(1, int(density * size)))
    # hardshrink keeps what is larger than its bound, and the bound itself must survive.
    bound = float(np.nextafter(np.float32(least), np.float32(-1)))
    return delta if least == 0 else lambda start, stop: hardshrink(delta(start, stop), bound)


def elect(base: Read, deltas: Sequence[Read], weights: Sequence[float], lambda_: float, mean: bool) -> Read:
    """base + lambda times the weighted mean (or sum), element by element, of what has the elected sign."""
    largest = max(weights) or 1.0
    scale = [weight / largest for weight in weights] if mean else list(weights)

    def read(start: int, stop: int) -> torch.Tensor:
        parts = [
            delta(start, stop) if w == 1 else torch.mul(delta(start, stop), w)
            for delta, w in zip(deltas, scale, strict=True)
        ]
        sign = _sign(parts)
        total, mass = torch.zeros(stop - start), torch.zeros(stop - start)
        for part, weight in zip(parts, scale, strict=True):
            agreeing = torch.mul(part, sign).relu_()
            total.add_(agreeing)
            if mean:
                mass.add_(agreeing.sign_().mul_(weight))
        if mean:
            total.div_(mass.clamp_(min=1e-30))
        return total.mul_(sign).mul_(lambda_).add_(base(start, stop))

    return read


def _sign(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """+1 or -1 by the sum of the parts; +1 where it is 0."""
    total = torch.zeros_like(parts[0])
    for part in parts:
        total.add_(part)
    return torch.copysign(torch.ones(()), total.add_(0.0))


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
        low, high = max(1, _quantile(sample, 1 - share - width)), _quantile(sample, 1 - share + width)
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
    """Sorted magnitudes from a quarter of every slice, at an odd stride so that all columns are met."""
    stride = size // (4 * SAMPLE) | 1
    parts = [
        _magnitudes(delta, start, start + (stop - start + 3) // 4)[::stride] for start, stop in spans(size, CHUNK // 2)
    ]
    return np.sort(np.concatenate(parts))


def _bracket(delta: Read, size: int, low: int, high: int) -> tuple[int, Bits]:
    """How many magnitudes are above `high`, and those in [low, high]."""
    above, inside = 0, []
    for start, stop in spans(size):
        bits = _magnitudes(delta, start, stop)
        above += int(np.count_nonzero(bits > high))
        # Unsigned, what is below `low` wraps round to large numbers: one comparison does for two.
        within = (bits - np.int32(low)).view(np.uint32) <= np.uint32(max(high - low, 0))
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
