"""DARE: random drop and rescale of task vectors, then their sum.

Paper: Yu et al. 2023, "Language Models are Super Mario", arXiv 2311.03099.
Formula, with task vectors tau_i = theta_i - theta_base, for each element:
    t_i   = m_i tau_i / p, with m_i ~ Bernoulli(p), p = `density`
    theta = theta_base + lambda sum_i w_i t_i

The masks come from a counter-based generator (Philox, Salmon et al. 2011) keyed by seed, tensor name and
model: element n has the same mask whatever is merged beside it, in whatever order, slices or threads. `density` is
rounded to a multiple of 2**-16, and the rescale uses the rounded value, so the expectation of t_i is tau_i.

Divergences:
- mergekit rescales so that the L1 norm is kept, which is biased on small tensors, and draws from torch's global
  generator.
- Vectors (norms, biases) are not dropped.
"""

from collections.abc import Sequence
from hashlib import sha256

import numpy as np
import numpy.typing as npt
import torch

from pipelines.merge.kinds import Dare
from pipelines.merge.reads import Read, TensorInputs, inputs_of, whole
from pipelines.merge.task_arithmetic import Thin, sum_read

LEVELS = 1 << 16
LARGEST = np.iinfo(np.uint64).max
LANES = 16
"""Sixteen-bit numbers a step of the counter gives."""


def dare(
    base: torch.Tensor,
    tuned: Sequence[torch.Tensor],
    weights: Sequence[float],
    density: float,
    lambda_: float = 1.0,
    seed: int = 0,
    name: str = "",
) -> torch.Tensor:
    """Merge `tuned` into `base`, tensors of one shape, as fp32. `name` is the tensor's: each has its own masks."""
    method = Dare.model_validate({"kind": "dare", "density": density, "lambda": lambda_, "seed": seed})
    return whole(dare_read(inputs_of(base, tuned, name), weights, method), base.shape)


def dare_read(x: TensorInputs, weights: Sequence[float], method: Dare) -> Read:
    """The base with the thinned task vectors added."""
    return sum_read(x, weights, method.lambda_, random_drop(x, method.density, method.seed))


def random_drop(x: TensorInputs, density: float, seed: int) -> Thin | None:
    """What keeps, in place, each element of the task vectors with probability p and divides it by p; None for p 1."""
    level = max(1, round(density * LEVELS))
    if level == LEVELS or x.vector:
        return None
    keys = [mask_key(seed, x.name, model) for model in x.models]

    def drop(deltas: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        for delta, key in zip(deltas, keys, strict=True):
            x.kernels.drop(delta, uniform16(key, start, stop), level, LEVELS / level)
        return deltas

    return drop


def mask_key(seed: int, name: str, model: str) -> int:
    """The 128-bit key of a mask."""
    return int.from_bytes(sha256(f"{seed}/{model}/{name}".encode()).digest()[:16], "little")


def uniform16(key: int, start: int, stop: int) -> npt.NDArray[np.uint16]:
    """Elements [start, stop) of the endless sequence of random 16-bit numbers that `key` names."""
    first = start // LANES
    generator = np.random.Generator(np.random.Philox(key=key).advance(first))
    skip = start - first * LANES
    # The raw output; unlike random_raw this lets go of the interpreter's lock.
    words = generator.integers(0, LARGEST, (skip + stop - start + 3) // 4, dtype=np.uint64, endpoint=True)
    return words.astype("<u8", copy=False).view("<u2")[skip : skip + stop - start]
