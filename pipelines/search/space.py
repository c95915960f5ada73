"""The parameters of a merge by the paths that a recipe gives them, and the merge with other values in their places."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from pipelines.merge.config import MergeConfig
from pipelines.search.config import Over, Range

Place = tuple[str | int, ...]
Params = dict[str, Any]
"""Values by path."""


def places(merge: MergeConfig) -> dict[str, tuple[Place, ...]]:
    """Every path that may be searched, to the values of the merge that it sets.

    `models.NAME.weight` goes by the name in `use`, where one model has it, or by position; `models.*.weight` is every
    model's. A schedule has its parts besides: `method.lambda.0` is the first of a list over the layers.
    """
    found: dict[str, tuple[Place, ...]] = {}
    method = {field.alias or name: getattr(merge.method, name) for name, field in _fields(merge.method).items()}
    for name, value in method.items():
        if name != "kind":
            found |= _parts(f"method.{name}", ("method", name), value)
    uses = [str(member.use) for member in merge.models]
    named = {use: uses.index(use) for use in uses if uses.count(use) == 1}
    for label, index in (named | {str(index): index for index in range(len(uses))}).items():
        found |= _parts(f"models.{label}.weight", ("models", index, "weight"), merge.models[index].weight)
    found["models.*.weight"] = tuple(("models", index, "weight") for index in range(len(uses)))
    return found


def canonical(place: Place) -> str:
    """The path of a place that holds whatever the entries are called."""
    return ".".join(map(str, place))


def changed(merge: MergeConfig, params: Mapping[str, Any]) -> dict[str, Any]:
    """The merge as a recipe would write it, with other values."""
    content = merge.model_dump(mode="json", by_alias=True)
    known = places(merge)
    for path, value in params.items():
        for *above, last in known[path]:
            holder: Any = content
            for key in above:
                holder = holder[key]
            holder[last] = value
    return content


def with_parameters(merge: MergeConfig, params: Mapping[str, Any]) -> MergeConfig:
    """The merge with other values. ValidationError where it has no meaning with them."""
    return MergeConfig.model_validate(changed(merge, params))


def why_not(error: ValidationError) -> str:
    """What a merge with some parameters lacks, in a sentence."""
    return error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")


def size(over: Mapping[str, Over]) -> int | None:
    """How many points a space has; None where there is no end of them."""
    counts = [_count(values) for values in over.values()]
    return None if None in counts else math.prod(count for count in counts if count is not None)


def ends(values: Over) -> Iterator[Any]:
    """Values that stand for all: every choice; of a range the smallest, one between and the largest that are tried."""
    if not isinstance(values, Range):
        yield from values
        return
    numbers = values.low, (values.low + values.high) / 2, values.high
    if values.step:
        last = (_count(values) or 1) - 1
        numbers = values.low, values.low + min(1, last) * values.step, min(values.low + last * values.step, values.high)
    for number in numbers:
        yield int(number) if values.whole else number


def _count(values: Over) -> int | None:
    if not isinstance(values, Range):
        return len(values)
    # The quotient of 0.3 and 0.1 is a little less than 3.
    return 1 + math.floor((values.high - values.low) / values.step + 1e-9) if values.step else None


def _fields(method: Any) -> dict[str, Any]:
    return dict(type(method).model_fields)


def _parts(path: str, place: Place, value: Any) -> dict[str, tuple[Place, ...]]:
    found: dict[str, tuple[Place, ...]] = {path: (place,)}
    inside = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, tuple) else ()
    for key, inner in inside:
        found |= _parts(f"{path}.{key}", (*place, key), inner)
    return found
