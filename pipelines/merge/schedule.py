"""Numbers that may differ from layer to layer and from tensor to tensor."""

import fnmatch
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import Discriminator, Field, Tag

_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|block|layer)\.(\d+)\.")


def _shape(value: Any) -> str:
    if isinstance(value, Mapping):
        return "patterns"
    return "gradient" if isinstance(value, (list, tuple)) else "number"


N = TypeVar("N")
if TYPE_CHECKING:
    # What merges sees numbers: `Kind.at` has put them in place of the schedules.
    Scheduled = Annotated[N, "scheduled"]
else:
    _Gradient = Annotated[tuple[N, ...], Field(min_length=2)]
    _Tagged = Annotated[Annotated[N, Tag("number")] | Annotated[_Gradient[N], Tag("gradient")], Discriminator(_shape)]
    Scheduled = Annotated[
        Annotated[N, Tag("number")]
        | Annotated[_Gradient[N], Tag("gradient")]
        | Annotated[Annotated[dict[str, _Tagged[N]], Field(min_length=1)], Tag("patterns")],
        Discriminator(_shape),
    ]
"""A number for all tensors; or a list, spread evenly over the layers from first to last; or a mapping from patterns of
tensor names (`*.mlp.*`) to either, of which the first that fits counts."""


def layer_of(tensor: str) -> int | None:
    """The number of the layer that a tensor belongs to."""
    found = _LAYER.search(tensor)
    return int(found[1]) if found else None


def depth_of(tensor: str, layers: int) -> float:
    """Where in the model a tensor is: 0 in the first layer and before it, 1 in the last and after it."""
    layer = layer_of(tensor)
    if layer is None:
        return 0.0 if re.search(r"embed(?!_out)|wte|wpe", tensor) else 1.0
    return layer / (layers - 1) if layers > 1 else 0.0


def value_at(scheduled: Any, tensor: str, depth: float, default: float) -> float:
    """The number that holds for a tensor; `default` where no pattern fits.

    Between the points of a list the number changes linearly with the depth.
    """
    if isinstance(scheduled, Mapping):
        fitting = (value for pattern, value in scheduled.items() if fnmatch.fnmatchcase(tensor, pattern))
        return value_at(next(fitting, default), tensor, depth, default)
    if isinstance(scheduled, tuple):
        place = depth * (len(scheduled) - 1)
        left = min(int(place), len(scheduled) - 2)
        share = place - left
        return float(scheduled[left] * (1 - share) + scheduled[left + 1] * share)
    return float(scheduled)


def numbers(scheduled: Any) -> list[float]:
    """Every number of a schedule."""
    if isinstance(scheduled, Mapping):
        return [number for value in scheduled.values() for number in numbers(value)]
    return list(scheduled) if isinstance(scheduled, tuple) else [scheduled]


def meeting(*scheduled: tuple[Any, float]) -> Iterator[tuple[float, ...]]:
    """The numbers that schedules, each with its default, have at one tensor, wherever one of them bends.

    Each pattern stands for the tensors that it fits, and an empty name for those that none does. What is known only
    with the model is left out: tensors that two patterns fit, and where in a list the layers of a pattern are.
    """
    every = [value for value, _ in scheduled]
    names = dict.fromkeys(["", *(pattern for value in every if isinstance(value, Mapping) for pattern in value)])
    parts = [part for value in every for part in (value.values() if isinstance(value, Mapping) else (value,))]
    sizes = {len(part) for part in parts if isinstance(part, tuple)}
    depths = sorted({place / (size - 1) for size in sizes for place in range(size)}) or [0.0]
    for name in names:
        if sizes and re.search(r"\d", name):
            continue
        for depth in depths:
            yield tuple(value_at(value, name, depth, default) for value, default in scheduled)


def idle(scheduled: Any, tensors: Iterable[str]) -> dict[str, bool]:
    """The patterns of a schedule that count for none of the tensors, and whether those before take all they fit."""
    left, found = set(tensors), {}
    every = list(left)
    for pattern in scheduled if isinstance(scheduled, Mapping) else ():
        fitting = {name for name in every if fnmatch.fnmatchcase(name, pattern)}
        if not fitting & left:
            found[pattern] = bool(fitting)
        left -= fitting
    return found
