"""Merges tensor by tensor, straight from mapped files into the files laid out for the result.

Every element is computed by itself, in fp32, and rounded once, so threads and slices change no bit of the result.
"""

import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from pipelines.engine.progress import progress
from pipelines.errors import UserError, wrong
from pipelines.hf.shards import DTYPES, ShardWriter
from pipelines.merge.config import Method
from pipelines.merge.methods import TensorInputs, merged_read
from pipelines.merge.plan import MERGED, Plan
from pipelines.merge.reads import CHUNK, Read, remembered, spans, stored
from pipelines.merge.tuned import Tuned


def merge(plan: Plan, method: Method, out_dir: Path, threads: int | None = None, chunk: int = CHUNK) -> None:
    """Write the merged weights. `threads` tensors at once (default: the cores), `chunk` elements at a time.

    UserError when the disk is too small, an input holds NaN or infinity, or a value does not fit the type it is
    stored in.
    """
    names = sorted(plan.base.tensors, key=lambda name: (-plan.base.info(name).elements, name))
    total = sum(plan.base.info(name).elements for name in names)
    done = 0
    with ShardWriter(out_dir, plan.base, plan.dtypes) as writer, _one_thread_each():
        for size in _in_threads(
            lambda name: _merge_tensor(plan, method, writer, name, chunk), names, threads or _cores()
        ):
            done += size
            progress(done, total, "weights")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Torch computes on the calling thread alone: the parallelism is over tensors."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _in_threads(work: Callable[[str], int], names: list[str], threads: int) -> Iterator[int]:
    """`work` on every name; the first error ends it."""
    with ThreadPoolExecutor(threads) as pool:
        tasks = [pool.submit(work, name) for name in names]
        try:
            for task in tasks:
                yield task.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _merge_tensor(plan: Plan, method: Method, writer: ShardWriter, name: str, chunk: int) -> int:
    """Merge one tensor and return its size."""
    info = plan.base.info(name)
    if info.elements == 0:
        return 0
    if info.dtype not in MERGED:
        _copy_buffer(plan, writer, name)
        return info.elements
    source = plan.canonical.get(name, name)
    inputs = _inputs(plan, source)
    read = merged_read(method, inputs, plan.weights)
    for tuned in (member for member in plan.members if isinstance(member, Tuned)):
        _check_copies(tuned, name)
    if plan.dtype(name) == info.dtype and not any(member.touches(source) for member in plan.members):
        read = inputs.base
    for start, stop in spans(info.elements, _step(plan, source, chunk)):
        values = read(start, stop).to(DTYPES[plan.dtype(name)])
        if not _finite(values):
            raise _blame(plan, inputs, name, start, stop)
        writer.write(name, values, start)
    return info.elements


def _inputs(plan: Plan, name: str) -> TensorInputs:
    base = remembered(stored(plan.base.tensor(name)))
    values = tuple(member.values(name, base) for member in plan.members)
    deltas = tuple(member.delta(name, base) for member in plan.members)
    return TensorInputs(name, plan.base.info(name).shape, base, values, deltas)


def _step(plan: Plan, name: str, chunk: int) -> int:
    """Elements at a time: whole blocks where an adapter's product is computed, so that none is computed twice."""
    products = [member.low_rank(name) for member in plan.members if not isinstance(member, Tuned)]
    block = next((product.block for product in products if product), 1)
    return max(block, chunk // block * block)


def _finite(values: torch.Tensor) -> bool:
    """Whether there is neither NaN nor infinity: by the sum, and by every element only where the sum is not finite."""
    total = values.sum(dtype=torch.float32 if values.dtype == torch.float16 else None)
    return math.isfinite(total.item()) or bool(torch.isfinite(values).all())


def _blame(plan: Plan, inputs: TensorInputs, name: str, start: int, stop: int) -> UserError:
    """The input in which the NaN or infinity was, or else the type that is too narrow."""
    named: list[tuple[str, Read]] = [(plan.base_name, inputs.base)]
    named += [(member.name, values) for member, values in zip(plan.members, inputs.values, strict=True)]
    for owner, read in named:
        if not _finite(read(start, stop)):
            fix = "This model is broken: make it again or leave it out"
            return wrong(owner, f"tensor {name} holds NaN or infinite values", "", fix)
    return wrong(
        plan.base_name,
        f"tensor {name}: merged values do not fit {plan.dtype(name)}",
        "",
        "Set dtype: bfloat16 or float32",
    )


def _copy_buffer(plan: Plan, writer: ShardWriter, name: str) -> None:
    """A tensor that is no weight is copied, if all models agree on it."""
    ours = plan.base.raw(name)
    for member in plan.members:
        if isinstance(member, Tuned) and not np.array_equal(ours, member.weights.raw(name)):
            what = f"tensor {name} differs from {plan.base_name}'s and is of a type that cannot be merged"
            raise wrong(member.name, what, plan.base.info(name).dtype, "Merge models that share it")
    writer.write(name, torch.from_numpy(ours))


def _check_copies(tuned: Tuned, name: str) -> None:
    """A tied head that is stored all the same must be the embedding."""
    for copy, original in tuned.aliases.items():
        stored_twice = name == original and copy in tuned.weights.tensors
        if stored_twice and not np.array_equal(tuned.weights.raw(copy), tuned.weights.raw(original)):
            what = f"ties its embeddings, but {copy} and {original} are stored with different values"
            raise wrong(tuned.name, what, "", "Set tie_word_embeddings to what it is and save the model again")
