"""Every elementwise method as plain loops of numpy over one tensor, written from the papers."""

from collections.abc import Callable, Sequence
from math import inf

import numpy as np
import numpy.typing as npt

from pipelines.merge.dare import mask_key, uniform16

Floats = npt.NDArray[np.float64]
Weights = Sequence[float]


def linear(base: Floats, tuned: list[Floats], weights: Weights) -> Floats:
    return np.average(tuned, axis=0, weights=weights)


def interpolate(base: Floats, tuned: list[Floats], weights: Weights, alpha: float) -> Floats:
    return (1 - alpha) * base + alpha * tuned[0]


def task_arithmetic(base: Floats, tuned: list[Floats], weights: Weights, lambda_: float = 1.0) -> Floats:
    return base + lambda_ * sum(weight * (model - base) for weight, model in zip(weights, tuned, strict=True))


def elected(deltas: list[Floats], weights: Weights, divide: bool, count: bool = False) -> Floats:
    """Election and disjoint sum or mean, one element at a time."""
    merged = np.zeros_like(deltas[0])
    for at in np.ndindex(merged.shape):
        votes = [(weight, float(delta[at])) for weight, delta in zip(weights, deltas, strict=True)]
        sign = 1 if sum(weight * (np.sign(x) if count else x) for weight, x in votes) >= 0 else -1
        agreeing = [(weight, x) for weight, x in votes if x * sign > 0 and weight > 0]
        total, mass = sum(weight * x for weight, x in agreeing), sum(weight for weight, _ in agreeing)
        if agreeing:
            merged[at] = total / mass if divide else total
    return merged


def kept(delta: Floats, density: float, gamma: float = 0.0) -> Floats:
    """Only magnitudes from the (g+1)-th to the (g+k)-th largest."""
    if delta.size == 0:
        return delta
    descending = np.sort(np.abs(delta), axis=None)[::-1]
    first, count = int(gamma * delta.size), max(1, int(density * delta.size))
    high = descending[first] if first else inf
    low = descending[first + count - 1] if density else inf
    return np.where((np.abs(delta) >= low) & (np.abs(delta) <= high), delta, 0)


def ties(
    base: Floats, tuned: list[Floats], weights: Weights, density: float, scope: str, sign: str, lambda_: float = 1.0
) -> Floats:
    deltas = [model - base for model in tuned]
    if base.ndim > 1 and scope == "row":
        rows = [delta.reshape(-1, base.shape[-1]) if base.size else delta for delta in deltas]
        deltas = [np.array([kept(row, density) for row in delta]).reshape(base.shape) for delta in rows]
    elif base.ndim > 1:
        deltas = [kept(delta, density) for delta in deltas]
    return base + lambda_ * elected(deltas, weights, divide=True, count=sign == "count")


def words(size: int, name: str, model: str, seed: int = 0) -> npt.NDArray[np.int64]:
    return uniform16(mask_key(seed, name, model), 0, size).astype(np.int64)


def dropped(
    deltas: list[Floats], chance: Callable[[Floats], Floats], name: str = "w", models: str = "abcdefghijkl"
) -> list[Floats]:
    """Each element with its probability, over it. `chance` gives the probabilities of a task vector."""
    if deltas[0].ndim < 2:
        return deltas
    thinned = []
    for delta, model in zip(deltas, models, strict=False):
        levels = np.rint(chance(delta) * 65536)
        keep = words(delta.size, name, model).reshape(delta.shape) < levels
        thinned.append(np.where(keep, delta * 65536 / levels, 0))
    return thinned


def dare(base: Floats, tuned: list[Floats], weights: Weights, density: float, lambda_: float = 1.0) -> Floats:
    deltas = dropped([model - base for model in tuned], lambda delta: np.full(delta.shape, density))
    return base + lambda_ * sum(weight * delta for weight, delta in zip(weights, deltas, strict=True))


def dare_ties(base: Floats, tuned: list[Floats], weights: Weights, density: float, lambda_: float = 1.0) -> Floats:
    deltas = dropped([model - base for model in tuned], lambda delta: np.full(delta.shape, density))
    return base + lambda_ * elected(deltas, weights, divide=False)


def della_chances(delta: Floats, density: float, epsilon: float) -> Floats:
    """The keep probability of every element: it rises with the number of smaller or earlier equal ones in its row."""
    chances = np.full(delta.shape, density)
    size = delta.shape[-1]
    for at in np.ndindex(delta.shape[:-1] if size > 1 else ()):
        row = np.abs(delta[at])
        for one in range(size if size > 1 else 0):
            rank = sum(row[other] < row[one] or (row[other] == row[one] and other < one) for other in range(size))
            chances[(*at, one)] = density - epsilon + 2 * epsilon * rank / (size - 1)
    return chances


def della(
    base: Floats,
    tuned: list[Floats],
    weights: Weights,
    density: float,
    epsilon: float,
    elect: bool = True,
    lambda_: float = 1.0,
) -> Floats:
    deltas = dropped([model - base for model in tuned], lambda delta: della_chances(delta, density, epsilon))
    if elect:
        return base + lambda_ * elected(deltas, weights, divide=True)
    return base + lambda_ * sum(weight * delta for weight, delta in zip(weights, deltas, strict=True))


def breadcrumbs(
    base: Floats,
    tuned: list[Floats],
    weights: Weights,
    density: float,
    gamma: float,
    elect: bool = False,
    lambda_: float = 1.0,
) -> Floats:
    deltas = [model - base for model in tuned]
    deltas = [kept(delta, density, gamma) for delta in deltas] if base.ndim > 1 else deltas
    if elect:
        return base + lambda_ * elected(deltas, weights, divide=False)
    return base + lambda_ * sum(weight * delta for weight, delta in zip(weights, deltas, strict=True))


def sce(base: Floats, tuned: list[Floats], weights: Weights, density: float, lambda_: float = 1.0) -> Floats:
    if not base.size:
        return base
    deltas = np.stack([model - base for model in tuned])
    if base.ndim > 1:
        spread = deltas.var(axis=0).round(12)
        deltas = deltas * (spread >= np.sort(spread, axis=None)[-max(1, int(density * base.size))])
    energies = [float(np.mean(delta**2)) for delta in deltas]
    merged = base.copy()
    for at in np.ndindex(base.shape):
        sign = 1 if deltas[(slice(None), *at)].sum() >= 0 else -1
        agreeing = [(w, float(d[at])) for w, d in zip(energies, deltas, strict=True) if d[at] * sign > 0]
        if agreeing:
            merged[at] += lambda_ * sum(w * d for w, d in agreeing) / sum(w for w, _ in agreeing)
    return merged
