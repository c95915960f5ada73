"""The learning rate over the steps."""

import math


def rate(step: int, total: int, warmup: float, kind: str) -> float:
    """Share of the peak rate at a step of 0 .. total - 1, in (0, 1].

    Linear warm-up over the first `warmup` share of the steps, then constant, linear or cosine decay (Loshchilov and
    Hutter 2017, arXiv 1608.03983). No step is taken with a rate of zero.
    """
    rising = int(warmup * total)
    if step < rising:
        return (step + 1) / (rising + 1)
    left = (total - step) / (total - rising)
    return {"constant": 1.0, "linear": left, "cosine": (1 + math.cos(math.pi * (1 - left))) / 2}[kind]
