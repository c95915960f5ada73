"""vLLM against transformers: how far log-probabilities of the same tokens may be apart."""

import math
from collections.abc import Sequence

from pipelines.errors import wrong

FLOAT32, HALF = 1e-4, 2e-2
"""Nats. Apart by the order of sums alone, sound exports were seen to differ by up to 1e-6 in float32 and 5e-3 in
bfloat16; a broken one differs by 0.1 and more."""


def limit(dtype: str) -> float:
    """The largest difference in nats that a model served in that type may have."""
    return FLOAT32 if dtype == "float32" else HALF


def largest(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> float:
    """The largest absolute difference of two sets of log-probabilities of the same prompts, in nats; NaN with a NaN."""
    pairs = zip(ours, theirs, strict=True)
    apart = [abs(one - other) for mine, yours in pairs for one, other in zip(mine, yours, strict=True)]
    return math.nan if any(map(math.isnan, apart)) else max(apart)


def require_same(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]], dtype: str, where: str) -> float:
    """The largest difference. UserError where it is above the limit of the dtype: vLLM serves another model."""
    found = largest(ours, theirs)
    if not found <= limit(dtype):
        got = f"{found:.2g} nats apart, where {limit(dtype):g} is allowed in {dtype}"
        fix = "Look for weights that vLLM ignores or never loads: burnish verify names them"
        raise wrong(where, "vLLM serves other log-probabilities than transformers", got, fix)
    return found
