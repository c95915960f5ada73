"""The methods that merge adapters into an adapter, module by module: cat, svd and knots."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

from pipelines.errors import Problem, UserError, wrong
from pipelines.merge.adapters.adapter import Adapter, Factors
from pipelines.merge.adapters.low_rank import Cut, LowRank, cat, knots, svd
from pipelines.merge.kinds import Cat, Kind, Knots, Svd
from pipelines.merge.plan import Plan


class Module(NamedTuple):
    """The merged product of one tensor. `like` says how its factors are stored."""

    tensor: str
    like: Factors
    product: LowRank
    energy: float
    discarded: float


def adapters_of(plan: Plan) -> list[Adapter]:
    """The members, all of them adapters made of low-rank products. UserError with all reasons where one is not."""
    problems = []
    for member in plan.members:
        if isinstance(member, Adapter):
            problems += member.beyond_products()
        else:
            fix = "Use a method that merges models, such as task_arithmetic"
            problems.append(Problem(member.name, "is a whole model, and this method merges adapters", "", fix))
    if problems:
        raise UserError(*dict.fromkeys(problems))
    return [member for member in plan.members if isinstance(member, Adapter)]


def touched(plan: Plan) -> list[str]:
    """The tensors that any of the adapters changes, in order."""
    return sorted({tensor for adapter in adapters_of(plan) for tensor in adapter.factors})


def merged_modules(plan: Plan, method: Kind) -> Iterator[Module]:
    """The merged product of every tensor that an adapter of a weight other than 0 changes.

    UserError where factors are not finite, or stored the wrong way round in one of two adapters.
    """
    adapters = adapters_of(plan)
    for tensor in touched(plan):
        parts = [part for part in zip(adapters, plan.weights_at(tensor), strict=True) if part[1]]
        parts = [(adapter, weight) for adapter, weight in parts if tensor in adapter.factors]
        if parts:
            like = _agreed(tensor, [adapter for adapter, _ in parts])
            products = [_finite(adapter, tensor) for adapter, _ in parts]
            found = _merged(method.at(tensor, plan.depth(tensor)), products, [weight for _, weight in parts])
            yield Module(tensor, like, *found)


def _merged(method: Any, products: list[LowRank], weights: list[float]) -> Cut:
    match method:
        case Cat():
            product = cat(products, weights)
            return Cut(product, product.square(), 0.0)
        case Svd():
            return svd(products, weights, method.rank or max(product.rank for product in products))
        case Knots():
            return knots(products, weights, method.density, method.lambda_, method.rank)
    raise AssertionError(f"{method.kind} makes no adapter")


def _agreed(tensor: str, adapters: list[Adapter]) -> Factors:
    """How the first stores its factors. A square weight would hide that another stores them transposed."""
    like = adapters[0].factors[tensor]
    for adapter in adapters[1:]:
        if adapter.factors[tensor].transposed != like.transposed:
            what = f"fan_in_fan_out for {tensor} is not that of {adapters[0].name}"
            raise wrong(adapter.name, what, "", "Correct the adapter_config.json in which it is wrong")
    return like


def _finite(adapter: Adapter, tensor: str) -> LowRank:
    product = adapter.low_rank(tensor)
    assert product is not None
    if not (torch.isfinite(product.left).all() and torch.isfinite(product.right).all()):
        fix = "This adapter is broken: make it again or leave it out"
        raise wrong(adapter.name, f"tensor {tensor} holds NaN or infinite values", "", fix)
    return product
