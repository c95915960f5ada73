"""The merge methods by the kind that a recipe names."""

import importlib
from collections.abc import Callable, Sequence
from typing import Any

from pipelines.merge.kinds import Kind, Ties
from pipelines.merge.reads import Read, TensorInputs
from pipelines.merge.ties import model_bounds

_READS = {
    "linear": "linear:linear_read",
    "interpolate": "interpolate:interpolate_read",
    "checkpoint_average": "checkpoint_average:checkpoint_average_read",
    "task_arithmetic": "task_arithmetic:task_arithmetic_read",
    "ties": "ties:ties_read",
    "dare": "dare:dare_read",
    "dare_ties": "dare_ties:dare_ties_read",
    "della": "della:della_read",
    "breadcrumbs": "breadcrumbs:breadcrumbs_read",
    "model_stock": "model_stock:model_stock_read",
    "slerp": "slerp:slerp_read",
    "nuslerp": "nuslerp:nuslerp_read",
    "karcher": "karcher:karcher_read",
    "sce": "sce:sce_read",
    "iso_c": "iso_c:iso_c_read",
    "tsv_m": "tsv_m:tsv_m_read",
}
"""What turns the inputs of one tensor, the weights and the method into the merged tensor: `module:function`."""


def merged_read(method: Kind, inputs: TensorInputs, weights: Sequence[float]) -> Read:
    """The merged tensor. `method` holds numbers, no schedules."""
    return _function(method.kind)(inputs, weights, method)


def surveyed(method: Kind, tensors: Callable[[], Sequence[TensorInputs]]) -> tuple[float, ...] | None:
    """The bounds of every model where they are taken over all its tensors; None where they are not."""
    if not isinstance(method, Ties) or method.scope != "global" or method.density == 1:
        return None
    matrices = [x for x in tensors() if not x.vector]
    count = len(matrices[0].models) if matrices else 0
    return tuple(model_bounds(matrices, method.density, index) for index in range(count))


def _function(kind: str) -> Callable[[TensorInputs, Sequence[float], Any], Read]:
    module, _, name = _READS[kind].partition(":")
    function: Callable[[TensorInputs, Sequence[float], Any], Read] = getattr(
        importlib.import_module(f"pipelines.merge.{module}"), name
    )
    return function
