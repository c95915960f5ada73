"""What is known of models before they are merged, as plain numbers."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class ModelSignals(NamedTuple):
    """One model against the base.

    `size` is |tau| / |theta_base| over all matrices, `layers` the same layer by layer. `unchanged` is the share of
    elements that, stored in bfloat16, are the base's, in the tensors that the model changes at all.
    """

    name: str
    size: float
    layers: Mapping[str, float]
    unchanged: float


class PairSignals(NamedTuple):
    """Two models against each other, by their task vectors.

    `cosine` and `ratio` (the longer over the shorter norm) are None where one of them is the base. Of the elements
    whose magnitude is among the top 20 % of a tensor in either model, `shared` is the share in both, `conflict` the
    share in both with opposite signs. `overlap` is the mean of |U_1^T U_2|^2 / k over the sampled matrices, U the top
    left singular vectors; `chance` is what random subspaces have.
    """

    models: tuple[str, str]
    cosine: float | None
    ratio: float | None
    shared: float
    conflict: float
    overlap: float | None
    chance: float | None


class Curve(NamedTuple):
    """Mean loss in nats per token at `alphas` between two models, on held-out rows of a dataset.

    `barrier` is the most that it lies above the straight line between its ends; below 0 there is none.
    """

    ends: tuple[str, str]
    data: str
    rows: int
    alphas: tuple[float, ...]
    losses: tuple[float, ...]
    barrier: float


class Evidence(NamedTuple):
    """All that was measured, and on how much of the weights."""

    parameters: int
    sampled: int
    matrices: tuple[str, ...]
    models: tuple[ModelSignals, ...]
    pairs: tuple[PairSignals, ...]
    curves: tuple[Curve, ...] = ()


def as_json(value: Any) -> Any:
    """Named tuples as objects, for JSON."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: as_json(item) for name, item in value._asdict().items()}
    if isinstance(value, Mapping):
        return {str(name): as_json(item) for name, item in value.items()}
    return [as_json(item) for item in value] if isinstance(value, (list, tuple)) else value
