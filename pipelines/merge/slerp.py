"""Slerp: along the arc from one model to another.

Paper: Shoemake 1985, "Animating rotation with quaternion curves".
Formula, for each tensor as one vector with angle phi between the two:
    theta = sin((1 - t) phi) / sin(phi) theta_0 + sin(t phi) / sin(phi) theta_1

theta_0 is the base and theta_1 the model, or with two models the first and the second. Where phi is below 1e-4 the
arc is a straight line to fp32's precision, and within 1.8 degrees of opposite, or where one of them is 0, no arc is
defined well enough: there the result is (1 - t) theta_0 + t theta_1. t = 0 and t = 1 are theta_0 and theta_1, and of
two equal models the result is that model, bitwise.

Divergences: mergekit takes the straight line within 1.8 degrees of equal, too, where fine-tunes of one base mostly are.
"""

from collections.abc import Sequence

import torch

from pipelines.merge.gram import combined, gram
from pipelines.merge.kinds import Slerp
from pipelines.merge.reads import Read, TensorInputs, inputs_of, whole

STRAIGHT = 1e-4
"""Sine of the angle up to which the arc is taken as straight: it then differs by less than fp32 can say."""
OPPOSITE = -0.9995
"""Cosine below which the ends are taken as opposite: the coefficients would be more than 30."""


def slerp(first: torch.Tensor, second: torch.Tensor, t: float) -> torch.Tensor:
    """The point at `t` in [0, 1] on the arc between two tensors of one shape, as fp32."""
    return whole(slerp_read(inputs_of(first, [second]), [1.0], Slerp(kind="slerp", t=t)), first.shape)


def slerp_read(x: TensorInputs, weights: Sequence[float], method: Slerp) -> Read:
    """The point at `t`. Reads both ends at once, where `t` is neither of them."""
    ends = (x.base, *x.values)[-2:]
    if method.t in (0, 1):
        return ends[int(method.t)]
    products = gram(ends, x.elements)
    straight, first, second = arc(products[0, 0], products[0, 1], products[1, 1], method.t)
    shares = [1 - method.t, method.t] if straight else [first.item(), second.item()]
    return combined(ends, shares, x.kernels)


def arc(
    first: torch.Tensor, inner: torch.Tensor, second: torch.Tensor, t: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Whether the arc is straight or not defined, and the coefficients of its ends where it is neither.

    From the inner products <0,0>, <0,1> and <1,1> of one pair of ends, or of many at once; fp64.
    """
    cosine = inner / (first * second).sqrt()
    sine = (1 - cosine.square()).clamp(min=0).sqrt()
    angle = torch.atan2(sine, cosine)
    straight = ~((sine > STRAIGHT) & (cosine > OPPOSITE))
    return straight, torch.sin((1 - t) * angle) / sine, torch.sin(t * angle) / sine
