"""What `engine: mergekit` cannot do, told from the config alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.merge.kinds import Kind, Mergekit
from pipelines.merge.mergekit.methods import METHODS
from pipelines.merge.schedule import numbers

NAMES: Mapping[str, str] = {
    "linear": "linear",
    "interpolate": "linear",
    "task_arithmetic": "task_arithmetic",
    "ties": "ties",
    "dare": "dare_linear",
    "dare_ties": "dare_ties",
    "della": "della_linear",
    "breadcrumbs": "breadcrumbs",
    "model_stock": "model_stock",
    "slerp": "slerp",
    "nuslerp": "nuslerp",
    "karcher": "karcher",
    "sce": "sce",
}
"""mergekit's merge_method by our kind."""
ELECTING: Mapping[str, str] = {"della": "della", "breadcrumbs": "breadcrumbs_ties"}
"""The same with signs elected."""
_ONLY: Mapping[str, Mapping[str, Any]] = {"ties": {"scope": "tensor", "sign": "mass"}, "sce": {"lambda_": 1.0}}
"""The only value that mergekit has of a parameter of ours."""


def check_mergekit(base: str, uses: Sequence[str], weights: Sequence[Any], method: Kind, post: Any) -> None:
    """ValueError where mergekit cannot merge the models named in `uses` by `method`."""
    if post is not None:
        raise ValueError(f"engine: mergekit has no post: {post.kind}; use engine: burnish")
    if isinstance(method, Mergekit):
        _check_own(base, uses, weights, method)
    elif method.kind not in NAMES:
        raise ValueError(f"engine: mergekit has no {method.kind}; use engine: burnish")
    else:
        _check_ours(method, weights)
    repeated = [use for at, use in enumerate(uses) if use in uses[:at]]
    if _gives_base(method, len(uses)):
        repeated += [use for use in uses if use == base]
    if repeated:
        raise ValueError(f"mergekit takes each model once, and here {repeated[0]} would be there twice")


def _gives_base(method: Kind, count: int) -> bool:
    """Whether mergekit gets the base beside the models."""
    if isinstance(method, Mergekit):
        return METHODS[method.name].base != "unused" and method.task_vectors and not method.slices
    if method.kind == "slerp":
        return count == 1
    return method.kind == "interpolate" or METHODS[name_of(method)].base != "unused"


def name_of(method: Kind) -> str:
    """mergekit's name of a method. KeyError where it has none."""
    if isinstance(method, Mergekit):
        return method.name
    return ELECTING[method.kind] if getattr(method, "elect", False) else NAMES[method.kind]


def _check_own(base: str, uses: Sequence[str], weights: Sequence[Any], method: Mergekit) -> None:
    """A method by mergekit's own name: counts, weights and, of slices, the models."""
    asked = METHODS[method.name]
    weighted = [weight for weight in weights if numbers(weight) != [1.0]]
    if weighted and "weight" not in asked.each:
        raise ValueError(f"mergekit's {method.name} takes no weights")
    if weighted and method.slices:
        raise ValueError("with slices a weight is a parameter of a source")
    if not method.task_vectors and asked.base != "optional":
        raise ValueError(f"task_vectors: false is for nuslerp and multislerp, not for {method.name}")
    if method.slices:
        _check_slices(base, uses, method)
    elif len(uses) < asked.least or (asked.most is not None and len(uses) > asked.most):
        most = "more" if asked.most is None else str(asked.most)
        wanted = str(asked.least) if asked.most == asked.least else f"{asked.least} to {most}"
        raise ValueError(f"mergekit's {method.name} merges {wanted} models besides the base, and there are {len(uses)}")
    _check_division(method, weights)


def _check_slices(base: str, uses: Sequence[str], method: Mergekit) -> None:
    """Slices name the models that are listed, all of them, and those that the method needs."""
    asked = METHODS[method.name]
    named = [[str(source.use) for source in one.sources] for one in method.slices]
    every = {use for one in named for use in one}
    if unknown := sorted(every - {*uses, base}):
        raise ValueError(f"slices name {unknown[0]}, which is not among the models")
    if unused := [use for use in uses if use not in every]:
        raise ValueError(f"{unused[0]} is among the models, but no slice takes layers of it")
    for one in named:
        count = len(one) - (base in one if asked.base != "unused" else 0)
        if asked.base == "needed" and base not in one:
            raise ValueError(f"mergekit's {method.name} needs the base in every slice")
        if count < asked.least or (asked.most is not None and count > asked.most):
            raise ValueError(f"mergekit's {method.name} does not merge {count} models in one slice")


def _check_division(method: Mergekit, weights: Sequence[Any]) -> None:
    """Where the result is divided by the sum of the weights, their signs must survive it."""
    asked = METHODS[method.name]
    name, default = asked.divides
    if not name or method.slices or not method.parameters.get(name, default):
        return
    instead = f"set {name}: false"
    every = [number for weight in weights for number in numbers(weight)]
    if asked.elects and min(every) < 0:
        raise ValueError(f"with {name}: true mergekit divides the sign of a negative weight away; {instead}")
    if len(every) == len(weights) and (sum(every) == 0 or (asked.base == "needed" and sum(every) < 0)):
        total = f"{sum(every):g}"
        raise ValueError(f"with {name}: true mergekit divides by the sum of the weights, which is {total}; {instead}")


def _check_ours(method: Kind, weights: Sequence[Any]) -> None:
    """A method of ours in the part of it that mergekit has."""
    for name, only in _ONLY.get(method.kind, {}).items():
        if (value := getattr(method, name)) != only:
            what = f"{method.kind} with {name.rstrip('_')}: {value}"
            raise ValueError(f"engine: mergekit has no {what}; use engine: burnish")
    if method.kind == "karcher" and any(numbers(weight) != numbers(weights[0]) for weight in weights):
        raise ValueError("mergekit's karcher gives all models the same weight; use engine: burnish")
