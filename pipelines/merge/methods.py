"""The merge methods by the kind that a recipe names."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pipelines.merge.config import Method
from pipelines.merge.dare_ties import dare_ties_read
from pipelines.merge.interpolate import interpolate_read
from pipelines.merge.linear import linear_read
from pipelines.merge.reads import Read
from pipelines.merge.ties import ties_read


class TensorInputs(NamedTuple):
    """One tensor of all models: the base, the tuned values, and the task vectors (values - base)."""

    name: str
    shape: tuple[int, ...]
    base: Read
    values: tuple[Read, ...]
    deltas: tuple[Read, ...]


def merged_read(method: Method, inputs: TensorInputs, weights: Sequence[float]) -> Read:
    """The merged tensor."""
    return _METHODS[method.kind](method, inputs, weights)


_METHODS: Mapping[str, Callable[[Any, TensorInputs, Sequence[float]], Read]] = {
    "linear": lambda method, x, weights: linear_read(x.values, weights),
    "interpolate": lambda method, x, weights: interpolate_read(x.base, x.values[0], method.alpha),
    "ties": lambda method, x, weights: ties_read(x.base, x.deltas, x.shape, weights, method.density, method.lambda_),
    "dare_ties": lambda method, x, weights: dare_ties_read(
        x.base, x.deltas, x.shape, weights, method.density, method.lambda_, method.seed, x.name
    ),
}
