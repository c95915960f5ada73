"""Quantiles of Student's t for any degrees of freedom from 1 on, whole or not, without a library."""

import math
from functools import lru_cache


@lru_cache(maxsize=4096)
def t_quantile(probability: float, degrees: float) -> float:
    """The t that a share `probability` of Student's distribution lies below.

    With t = sqrt(v) tan(a) the density is proportional to cos(a)^(v - 1), which falls in a: Newton's method from a = 0
    therefore never overshoots. Relative error below 1e-4 for probabilities up to 0.995.
    """
    v = max(1.0, degrees)
    share = abs(probability - 0.5) * math.sqrt(math.pi) * math.exp(math.lgamma(v / 2) - math.lgamma((v + 1) / 2))
    angle = mass = 0.0
    for _ in range(200):
        step = (share - mass) / math.cos(angle) ** (v - 1)
        if step <= 1e-9 * angle:
            break
        mass += _simpson(angle, step, v - 1)
        angle += step
    return math.copysign(math.sqrt(v) * math.tan(angle), probability - 0.5)


def _simpson(start: float, width: float, power: float) -> float:
    """Integral of cos^power from `start` over `width`."""
    heights = [math.cos(start + width * i / 32) ** power for i in range(33)]
    return width / 96 * float(heights[0] + 4 * sum(heights[1::2]) + 2 * sum(heights[2:-1:2]) + heights[-1])
