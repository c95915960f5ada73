"""A planned merge as mergekit would read it from a YAML file.

Numbers that differ from tensor to tensor become conditions on tensor names, of which mergekit takes the first whose
text is part of the name. Norms and biases, which the methods here leave whole, get density 1.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.errors import wrong
from pipelines.hf.rewrite import CODES
from pipelines.merge.config import Member
from pipelines.merge.kinds import Interpolate, Kind, Mergekit, Nuslerp
from pipelines.merge.mergekit.methods import METHODS
from pipelines.merge.mergekit.rules import name_of
from pipelines.merge.plan import MERGED, Plan

Mapped = dict[str, Any]
Number = Callable[[str], float]
"""What holds for the tensor of a name."""

_DTYPES = {code: name for name, code in CODES.items()}
_PARAMETERS = {
    "density": "density",
    "lambda_": "lambda",
    "epsilon": "epsilon",
    "gamma": "gamma",
    "t": "t",
    "iterations": "max_iter",
    "tolerance": "tol",
}
"""mergekit's name of a parameter of ours."""
_WHOLE_VECTORS = ("density", "select_topk")


def mergekit_recipe(plan: Plan, method: Kind, members: Sequence[Member], folders: Sequence[Path]) -> Mapped:
    """What mergekit-yaml would read; `folders` hold the planned members as whole models.

    It computes in float32 whatever the models are stored in. UserError where the result would be of several types.
    """
    dtypes = {plan.dtype(name) for name in _merged(plan)}
    if len(dtypes) > 1:
        raise wrong("engine", "mergekit stores all weights in one type", ", ".join(sorted(dtypes)), "Set dtype")
    recipe: Mapped = {
        "merge_method": name_of(method),
        "dtype": "float32",
        "out_dtype": _DTYPES[dtypes.pop()],
    }
    if isinstance(method, Mergekit):
        return recipe | _own(plan, method, members, folders)
    return recipe | _ours(plan, method, folders)


def _ours(plan: Plan, method: Kind, folders: Sequence[Path]) -> Mapped:
    """A method of ours by mergekit's parameters."""
    base = plan.base_folder
    weight_of: list[tuple[Path, Number]] = [
        (folder, partial(_weight_at, plan, at)) for at, folder in enumerate(folders)
    ]
    if isinstance(method, Interpolate):
        alpha = _number(plan, method, "alpha")
        weight_of = [(base, lambda name: 1 - alpha(name)), (folders[0], alpha)]
    if method.kind == "slerp" and len(folders) == 2:
        # The first takes the base's place.
        base, weight_of = folders[0], weight_of[1:]
    known = METHODS[name_of(method)]
    weighted = "weight" in known.each
    models = [
        {"model": _text(folder)} | ({"parameters": {"weight": _setting(plan, weight)}} if weighted else {})
        for folder, weight in weight_of
    ]
    parameters = _parameters(plan, method, (*known.shared, *known.each))
    if "normalize" in known.shared:
        parameters["normalize"] = method.kind in ("linear", "interpolate", "ties") or name_of(method) == "della"
    return {"models": models, "parameters": parameters} | (
        {} if known.base == "unused" else {"base_model": _text(base)}
    )


def _parameters(plan: Plan, method: Kind, known: Sequence[str]) -> Mapped:
    """The parameters that all models share, those of a tensor where they differ."""
    names = _PARAMETERS | ({"density": "select_topk"} if method.kind == "sce" else {})
    parameters = {
        theirs: _setting(plan, _number(plan, method, ours, theirs in _WHOLE_VECTORS))
        for ours, theirs in names.items()
        if hasattr(method, ours) and theirs in known
    }
    if isinstance(method, Nuslerp):
        parameters["nuslerp_flatten"] = method.scope == "tensor"
    return parameters


def _number(plan: Plan, method: Kind, field: str, whole_vectors: bool = False) -> Number:
    def number(name: str) -> float:
        if whole_vectors and len(plan.base.info(name).shape) < 2:
            return 1.0
        value: float = getattr(_at(plan, method, name), field)
        return value

    return number


def _own(plan: Plan, method: Mergekit, members: Sequence[Member], folders: Sequence[Path]) -> Mapped:
    """A method by mergekit's own name, its parameters as they were written."""
    known = METHODS[method.name]
    recipe: Mapped = {"parameters": method.parameters}
    named = {plan.base_name: _text(plan.base_folder)}
    named |= {member.use: _text(folder) for member, folder in zip(members, folders, strict=True)}
    if method.slices:
        recipe["slices"] = [
            {
                "sources": [
                    {"model": named[one.use], "layer_range": list(one.layer_range), "parameters": one.parameters}
                    for one in slice_.sources
                ],
                "parameters": slice_.parameters,
            }
            for slice_ in method.slices
        ]
    else:
        recipe["models"] = [
            {"model": _text(folder), "parameters": _weight(plan, known.each, at) | member.parameters}
            for at, (member, folder) in enumerate(zip(members, folders, strict=True))
        ]
    # Where the base is any other model to the method, mergekit would merge it too, but not in slices.
    given = method.task_vectors and known.base != "unused"
    return recipe | (
        {"base_model": named[plan.base_name]} if given or (method.slices and known.base == "unused") else {}
    )


def _weight(plan: Plan, each: Sequence[str], index: int) -> Mapped:
    return {"weight": _setting(plan, partial(_weight_at, plan, index))} if "weight" in each else {}


def _weight_at(plan: Plan, index: int, name: str) -> float:
    return plan.weights_at(name)[index]


def _setting(plan: Plan, number: Number) -> Any:
    """A number, or conditions on names that give every tensor its own."""
    values = {name: number(plan.canonical.get(name, name)) for name in _merged(plan)}
    usual = Counter(values.values()).most_common(1)[0][0]
    odd = [name for name, value in values.items() if value != usual]
    if not odd:
        return usual
    # The longest first: a name may be part of another.
    told = sorted((name for name in values if any(one in name for one in odd)), key=lambda name: (-len(name), name))
    return [*({"filter": name, "value": values[name]} for name in told), {"value": usual}]


def _merged(plan: Plan) -> list[str]:
    return [name for name, place in plan.base.tensors.items() if place.info.dtype in MERGED]


def _at(plan: Plan, method: Kind, name: str) -> Any:
    return method.at(name, plan.depth(name))


def _text(folder: Path) -> str:
    return str(folder.resolve())
