"""Candidates that differ in lambda alone, from one merged task vector.

Every method with a lambda ends in base + lambda v. Here v is merged once, in fp32, into a folder; a candidate is then
made from it and the base, bitwise equal to the merge of the models themselves, which are not read again.
"""

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from pipelines.engine.stage import Inputs
from pipelines.hf.shard_writer import ShardWriter
from pipelines.hf.shards import DTYPES, Weights, open_folder
from pipelines.hf.threads import one_thread_each
from pipelines.merge.carry import carry
from pipelines.merge.config import ADAPTER_METHODS, MergeConfig
from pipelines.merge.inputs import inputs as tensor_inputs
from pipelines.merge.kernels import Kernels
from pipelines.merge.kinds import SPECTRAL, Kind
from pipelines.merge.members import members
from pipelines.merge.methods import merged_read, surveyed
from pipelines.merge.plan import MERGED, Plan, plan
from pipelines.merge.reads import TensorInputs, spans, stored
from pipelines.merge.schedule import numbers
from pipelines.merge.stream import fastest


class Vector(NamedTuple):
    """A merged task vector: the plan that it was merged by, and its tensors in fp32."""

    plan: Plan
    tensors: Weights


class _Vectors:
    """Kernels whose sums leave out the base and lambda."""

    def __init__(self, kernels: Kernels) -> None:
        self._kernels = kernels

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kernels, name)

    def add(self, base: torch.Tensor, deltas: torch.Tensor, weights: Sequence[float], lambda_: float) -> torch.Tensor:
        return self._kernels.add(torch.zeros_like(base), deltas, weights, 1.0)

    def elect(
        self,
        base: torch.Tensor,
        deltas: torch.Tensor,
        weights: Sequence[float],
        lambda_: float,
        divide: bool,
        count: bool,
    ) -> torch.Tensor:
        return self._kernels.elect(torch.zeros_like(base), deltas, weights, 1.0, divide, count)


def scaled_only(config: MergeConfig) -> bool:
    """Whether the merge is base + lambda v for every model: not where one model whole may be copied instead."""
    method: Any = config.method
    if config.engine != "burnish" or config.post or method.kind in ADAPTER_METHODS:
        return False
    if "lambda_" not in type(method).model_fields:
        return False
    weights: list[Any] = [member.weight for member in config.models if any(numbers(member.weight))]
    if len(weights) > 1:
        return True
    scale = method.lambda_
    plain = isinstance(scale, float) and all(isinstance(weight, float) for weight in weights)
    return plain and scale != 1 and all(weight * scale != 1 for weight in weights)


def capture(config: MergeConfig, inputs: Inputs, folder: Path) -> Vector | None:
    """The task vector of a merge, written to `folder`; None where it cannot be had apart from lambda.

    Lambda is NaN meanwhile, so that any use that a method makes of it outside of the kernels shows.
    """
    plan = _plan(config, inputs)
    method = config.method.model_copy(update={"lambda_": math.nan})
    names = [name for name in plan.base.tensors if name not in plan.canonical and _is_merged(plan, name)]
    kernels: Kernels = _Vectors(fastest(sum(plan.base.info(name).elements for name in names)))
    found = surveyed(method, lambda: [tensor_inputs(plan, name, kernels) for name in names])
    touched = [name for name in names if _touched(plan, name)]
    with ShardWriter(folder, plan.base, dict.fromkeys(names, "F32")) as writer, one_thread_each():
        work = [
            partial(_capture, plan, method, writer, tensor_inputs(plan, name, kernels)._replace(bounds=found))
            for name in touched
        ]
        whole = _all(work, config.threads)
    return Vector(plan, open_folder(folder).map()) if whole else None


def apply(vector: Vector, config: MergeConfig, out_dir: Path) -> bool:
    """Make base + lambda v in `out_dir`.

    False where a value does not fit the type that it is stored in, or where v does not give the merge's own bits.
    """
    plan = vector.plan
    if any(_is_mean(plan, config.method, name) for name in vector.tensors.tensors):
        return False
    kernels = fastest(sum(place.info.elements for place in plan.base.tensors.values()))
    with ShardWriter(out_dir, plan.base, plan.dtypes) as writer:
        fits = _all(
            [partial(_apply, vector, config.method, kernels, writer, name) for name in plan.base.tensors],
            config.threads,
        )
    carry(plan.base_folder, out_dir, config.dtype)
    return fits


def _capture(plan: Plan, method: Kind, writer: ShardWriter, x: TensorInputs) -> bool:
    weights = plan.weights_at(x.name)
    if not any(weights):
        return True  # Files are laid out with zeros, and some methods would give the base itself.
    read = merged_read(method.at(x.name, plan.depth(x.name)), x, weights)
    for start, stop in spans(x.elements):
        values = read(start, stop)
        if not bool(torch.isfinite(values).all()):
            return False
        writer.write(x.name, values.contiguous(), start)
    return True


def _apply(vector: Vector, method: Kind, kernels: Kernels, writer: ShardWriter, name: str) -> bool:
    plan, info = vector.plan, vector.plan.base.info(name)
    if not _is_merged(plan, name):
        if info.elements:
            writer.write(name, torch.from_numpy(plan.base.raw(name)))
        return True
    source, dtype = plan.canonical.get(name, name), DTYPES[plan.dtype(name)]
    base, delta = stored(plan.base.tensor(source)), stored(vector.tensors.tensor(source))
    scale = method.at(source, plan.depth(source)).lambda_
    touched = _touched(plan, source)
    for start, stop in spans(info.elements):
        ours = base(start, stop)
        values = (kernels.add(ours, delta(start, stop)[None], [1.0], scale) if touched else ours).to(dtype)
        if not bool(torch.isfinite(values).all()):
            return False
        writer.write(name, values, start)
    return True


def _is_mean(plan: Plan, method: Kind, name: str) -> bool:
    """Whether a tensor is the mean of the models as they are stored, and not a sum with the base."""
    return (
        method.kind in SPECTRAL
        and _is_merged(plan, name)
        and not tensor_inputs(plan, name).matrix
        and method.at(name, plan.depth(name)).lambda_ == 1
    )


def _plan(config: MergeConfig, inputs: Inputs) -> Plan:
    """The plan that the merge stage makes."""
    given = members(config, inputs)
    weights = [one.weight for one in given]
    return plan(inputs[config.base], [one.artifact for one in given], weights, config.dtype)


def _is_merged(plan: Plan, name: str) -> bool:
    info = plan.base.info(name)
    return bool(info.dtype in MERGED and info.elements)


def _touched(plan: Plan, name: str) -> bool:
    return any(member.touches(name) for member in plan.members)


def _all(jobs: Sequence[partial[bool]], threads: int | None) -> bool:
    """Do the jobs, several at once, and say whether all of them could be done."""
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        return all(list(pool.map(lambda job: job(), jobs)))
