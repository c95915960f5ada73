"""vLLM against transformers: how far log-probabilities of the same tokens may be apart."""

import math
from collections.abc import Sequence

from pipelines.errors import wrong

FLOAT32, HALF = 1e-4, 2e-2
"""Nats. Apart by the order of sums alone, sound exports were seen to differ by up to 5e-5 in float32; in 16 bits small
models by up to 5e-3."""
_ROUNDINGS = 8
_STEPS = {"bfloat16": 2.0**-8, "float16": 2.0**-11}


def limit(dtype: str, scale: float = 0.0) -> float:
    """The largest difference in nats that a model served in that type may have.

    In 16 bits both engines round logits to steps that grow with them: `scale` is the largest logit in size, and a few
    steps there are allowed where they are more than HALF. SmolLM2, whose logits reach 30, differs by 0.5 in bfloat16.
    """
    return FLOAT32 if dtype == "float32" else max(HALF, _ROUNDINGS * _STEPS[dtype] * scale)


def largest(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> float:
    """The largest absolute difference of two sets of log-probabilities of the same prompts, in nats; NaN with a NaN."""
    pairs = zip(ours, theirs, strict=True)
    apart = [abs(one - other) for mine, yours in pairs for one, other in zip(mine, yours, strict=True)]
    return math.nan if any(map(math.isnan, apart)) else max(apart)


def require_same(
    ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]], dtype: str, where: str, scale: float = 0.0
) -> float:
    """The largest difference. UserError where it is above the limit of dtype and scale: vLLM serves another model."""
    found = largest(ours, theirs)
    if not found <= limit(dtype, scale):
        got = f"{found:.2g} nats apart, where {limit(dtype, scale):.2g} is allowed in {dtype}"
        fix = "Look for weights that vLLM ignores or never loads: burnish verify names them"
        raise wrong(where, "vLLM serves other log-probabilities than transformers", got, fix)
    return found
