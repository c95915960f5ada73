"""The merge methods of mergekit and what each takes, as of mergekit 0.1.5, told without importing it.

A method that a newer mergekit has is one more row here; until then its name is refused, because nothing about it could
be checked before the run.
"""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple


class MergekitMethod(NamedTuple):
    """A method.

    It takes `least` to `most` models besides the base, which it needs, can do without, or treats as any other model.
    `shared` parameters hold for all models, `each` for one; those `required` have no default. `divides` names the
    parameter by which the result is divided by the sum of the weights, and its default. It may elect signs first.
    """

    base: Literal["needed", "optional", "unused"] = "needed"
    least: int = 1
    most: int | None = None
    shared: tuple[str, ...] = ()
    each: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    divides: tuple[str, bool] = ("", False)
    elects: bool = False


def _task_vectors(*each: str, divides: bool = False, elects: bool = False) -> MergekitMethod:
    return MergekitMethod(
        shared=("int8_mask", "normalize", "rescale", "lambda"),
        each=("weight", "density", *each),
        divides=("normalize", divides),
        elects=elects,
    )


METHODS: Mapping[str, MergekitMethod] = {
    "arcee_fusion": MergekitMethod(most=1),
    "breadcrumbs": _task_vectors("gamma"),
    "breadcrumbs_ties": _task_vectors("gamma", elects=True),
    "dare_linear": _task_vectors(),
    "dare_ties": _task_vectors(elects=True),
    "della": _task_vectors("epsilon", divides=True, elects=True),
    "della_linear": _task_vectors("epsilon"),
    "karcher": MergekitMethod("unused", shared=("max_iter", "tol")),
    "linear": MergekitMethod("unused", shared=("normalize",), each=("weight",), divides=("normalize", True)),
    "model_stock": MergekitMethod(least=2, shared=("filter_wise",)),
    "multislerp": MergekitMethod(
        "optional", shared=("normalize_weights", "eps"), each=("weight",), divides=("normalize_weights", True)
    ),
    "nearswap": MergekitMethod(most=1, shared=("t",), required=("t",)),
    "nuslerp": MergekitMethod(
        "optional", least=2, most=2, shared=("nuslerp_row_wise", "nuslerp_flatten"), each=("weight",)
    ),
    "passthrough": MergekitMethod("unused", most=1, each=("scale",)),
    "ram": MergekitMethod(shared=("epsilon",)),
    "ramplus_tl": MergekitMethod(shared=("r", "alpha", "epsilon")),
    "sce": MergekitMethod(shared=("int8_mask", "select_topk")),
    "slerp": MergekitMethod(most=1, shared=("t",), required=("t",)),
    "task_arithmetic": _task_vectors(),
    "ties": _task_vectors(divides=True, elects=True),
}
"""All that can be named."""

_SCALARS = (bool, int, float, str)


def check_name(name: str) -> str:
    """The name of a method. ValueError with the nearest where there is none."""
    if name in METHODS:
        return name
    near = difflib.get_close_matches(name, METHODS, n=1)
    fix = f"Did you mean '{near[0]}'?" if near else f"It has {', '.join(METHODS)}"
    raise ValueError(f"mergekit 0.1.5 has no method '{name}'. {fix}")


def check_parameters(method: str, parameters: Mapping[str, Any], known: Iterable[str]) -> None:
    """ValueError where a parameter is none of the `known` of a method, or its value is none that mergekit reads."""
    known = tuple(known)
    for name, value in parameters.items():
        if name == "weight" and name not in known and name in METHODS[method].each:
            raise ValueError("a weight is said beside `use:` of its model")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            fix = f"Did you mean '{near[0]}'?" if near else f"It takes {', '.join(known) or 'none here'}"
            raise ValueError(f"mergekit's {method} has no parameter '{name}' here. {fix}")
        _check_setting(name, value)


def _check_setting(name: str, value: Any) -> None:
    """A scalar, a list of them over the layers, or a list of conditions `{filter, value}`."""
    conditions = value if isinstance(value, list) else [value]
    for one in conditions:
        inner = one.get("value") if isinstance(one, dict) else one
        if isinstance(one, dict) and (not one.keys() <= {"filter", "value"} or "value" not in one):
            raise ValueError(f"a condition of '{name}' holds filter and value, and nothing else")
        inside = inner if isinstance(one, dict) and isinstance(inner, list) else [inner]
        if not all(isinstance(scalar, _SCALARS) for scalar in inside) or not inside:
            raise ValueError(f"'{name}' must be a value, a list of values, or a list of {{filter, value}}")
    if not conditions:
        raise ValueError(f"'{name}' must not be an empty list")
