"""DARE-TIES: drop at random, rescale, elect sign, disjoint sum.

Paper: Yu et al. 2023, "Language Models are Super Mario", arXiv 2311.03099, then the election of TIES (arXiv
2306.01708).
Formula, with task vectors tau_i = theta_i - theta_base, for each element:
    t_i   = m_i tau_i / density, m_i ~ Bernoulli(density)
    sign  = sign of sum_i w_i t_i, + when the sum is 0
    theta = theta_base + lambda sum_A w_i t_i over A = {i: t_i has that sign}

The masks come from a counter-based generator (Philox, Salmon et al. 2011) keyed by seed, tensor name and index of the
model: element n has the same mask whatever is merged beside it, in whatever order, slices or threads. `density` is
rounded to a multiple of 2**-16, and the rescale uses the rounded value, so the expectation of t_i is tau_i.

Divergences:
- mergekit rescales so that the L1 norm is kept, which is biased on small tensors, and draws from torch's global
  generator.
- Vectors (norms, biases) are not dropped.
- As in mergekit the sum is not divided by the weights: they scale what each model adds.
"""

from collections.abc import Sequence
from hashlib import sha256

import numpy as np
import numpy.typing as npt
import torch

from pipelines.merge.reads import Read, task_vectors, whole
from pipelines.merge.ties import elect

LEVELS = 1 << 16
LANES = 16
"""Sixteen-bit numbers a step of the counter gives."""


def dare_ties(
    base: torch.Tensor,
    tuned: Sequence[torch.Tensor],
    weights: Sequence[float],
    density: float,
    lambda_: float = 1.0,
    seed: int = 0,
    name: str = "",
) -> torch.Tensor:
    """Merge `tuned` into `base`, tensors of one shape, as fp32. `name` is the tensor's: each has its own masks."""
    start, deltas = task_vectors(base, tuned)
    return whole(dare_ties_read(start, deltas, base.shape, weights, density, lambda_, seed, name), base)


def dare_ties_read(
    base: Read,
    deltas: Sequence[Read],
    shape: Sequence[int],
    weights: Sequence[float],
    density: float,
    lambda_: float,
    seed: int,
    name: str,
) -> Read:
    """The merge of a base and task vectors."""
    level = max(1, round(density * LEVELS)) if len(shape) > 1 else LEVELS
    keys = [mask_key(seed, name, index) for index in range(len(deltas))]
    votes = [drop(delta, level, key, weight) for delta, key, weight in zip(deltas, keys, weights, strict=True)]
    return elect(base, votes, None, lambda_)


def mask_key(seed: int, name: str, index: int) -> int:
    """The 128-bit key of a mask."""
    return int.from_bytes(sha256(f"{seed}/{index}/{name}".encode()).digest()[:16], "little")


def drop(delta: Read, level: int, key: int, weight: float) -> Read:
    """`weight` times the task vector, each element kept with probability p = level / 2**16 and divided by p."""
    scale = weight * LEVELS / level

    def read(start: int, stop: int) -> torch.Tensor:
        if level == LEVELS:
            return torch.mul(delta(start, stop), scale)
        keep = (uniform16(key, start, stop) < level).astype(np.float32)
        return torch.from_numpy(keep).mul_(delta(start, stop)).mul_(scale)

    return read


def uniform16(key: int, start: int, stop: int) -> npt.NDArray[np.uint16]:
    """Elements [start, stop) of the endless sequence of random 16-bit numbers that `key` names."""
    first = start // LANES
    generator = np.random.Philox(key=key).advance(first)
    skip = start - first * LANES
    words = generator.random_raw((skip + stop - start + 3) // 4)
    return words.astype("<u8", copy=False).view("<u2")[skip : skip + stop - start]
