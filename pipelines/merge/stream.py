"""Merges piece by piece, straight from mapped files into the files laid out for the result.

Every element is computed by itself, in fp32, and rounded once, so threads, pieces and slices change no bit of it.
"""

import importlib
import math
import os
import queue
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from pipelines.engine.progress import progress
from pipelines.errors import UserError, wrong
from pipelines.hf.shard_writer import ShardWriter
from pipelines.hf.shards import DTYPES, same_bytes
from pipelines.hf.threads import one_thread_each
from pipelines.merge import kernels
from pipelines.merge.adapters.adapter import Adapter
from pipelines.merge.config import MEANS
from pipelines.merge.inputs import inputs
from pipelines.merge.journal import Journal
from pipelines.merge.kernels import Kernels
from pipelines.merge.kinds import Kind, Post
from pipelines.merge.methods import merged_read, surveyed
from pipelines.merge.on_device import on_device
from pipelines.merge.plan import MERGED, Plan
from pipelines.merge.post import posted
from pipelines.merge.reads import CHUNK, Read, TensorInputs, spans
from pipelines.merge.tuned import Tuned
from pipelines.merge.unfit import unfit

PIECE = 1 << 22
"""Elements of a tensor that one thread merges; the rest of a larger one is merged beside it."""
COMPILED = 1 << 24
"""Elements of a model from which on compiled kernels are worth their start."""

Job = Callable[[], "Done"]


class Done(NamedTuple):
    """How many elements of a tensor a job has finished, and the jobs that it left to others."""

    tensor: str
    elements: int
    more: tuple[Job, ...] = ()


def merge(
    plan: Plan,
    method: Kind,
    out_dir: Path,
    threads: int | None = None,
    post: Post | None = None,
    shard_bytes: int | None = None,
    device: str = "cpu",
    chunk: int | None = None,
) -> None:
    """Write the merged weights. `threads` pieces at once (default: the cores), `chunk` elements at a time; on
    another `device` than the CPU larger chunks pay for the way there and back.

    What an earlier, killed attempt noted in the folder's journal is not merged again. UserError when the disk is too
    small, an input holds NaN or infinity, or a value does not fit the type it is stored in.
    """
    names = sorted(plan.base.tensors, key=lambda name: (-plan.base.info(name).elements, name))
    total = sum(plan.base.info(name).elements for name in names)
    chosen = fastest(total) if device == "cpu" else on_device(device)
    chunk = chunk or (CHUNK if device == "cpu" else PIECE)
    writer = ShardWriter(out_dir, plan.base, plan.dtypes, shard_bytes)
    journal = Journal(out_dir, writer.sync)
    if not writer.laid_out:
        journal.forget()
    with writer, one_thread_each():
        bounds = surveyed(method, lambda: [inputs(plan, name, chosen) for name in names if _is_merged(plan, name)])
        work = _Merge(plan, method, post, writer, chosen, bounds, chunk)
        left = {name: plan.base.info(name).elements for name in names if name not in journal.finished}
        done = total - sum(left.values())
        for name, size in _in_threads([partial(work.tensor, name) for name in left], threads or _cores()):
            done += size
            left[name] -= size
            if not left[name]:
                journal.add(name, plan.base.info(name).elements * DTYPES[plan.dtype(name)].itemsize)
            progress(done, total, "weights")
        journal.close()


def fastest(elements: int) -> Kernels:
    """The compiled kernels where numba is installed and there is enough to do, else the reference."""
    if elements < COMPILED:
        return kernels.reference
    try:
        found: Kernels = importlib.import_module("pipelines.merge.compiled").compiled
    except ImportError:
        return kernels.reference
    return found


def _is_merged(plan: Plan, name: str) -> bool:
    info = plan.base.info(name)
    return bool(info.dtype in MERGED and info.elements and name not in plan.canonical)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_threads(jobs: Iterable[Job], threads: int) -> Iterator[tuple[str, int]]:
    """Do all jobs and those that they leave; yields what each finished. The first error ends it."""
    finished: queue.SimpleQueue[Future[Done]] = queue.SimpleQueue()
    with ThreadPoolExecutor(threads) as pool:

        def submit(job: Job) -> None:
            pool.submit(job).add_done_callback(finished.put)

        open_jobs = 0
        for job in jobs:
            submit(job)
            open_jobs += 1
        try:
            while open_jobs:
                done = finished.get().result()
                open_jobs += len(done.more) - 1
                for job in done.more:
                    submit(job)
                yield done.tensor, done.elements
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class _Merge(NamedTuple):
    """One merge under way."""

    plan: Plan
    method: Kind
    post: Post | None
    writer: ShardWriter
    kernels: Kernels
    bounds: tuple[float, ...] | None
    chunk: int

    def tensor(self, name: str) -> Done:
        """Merge a tensor, or get it ready and leave its pieces."""
        plan, info = self.plan, self.plan.base.info(name)
        if info.elements == 0:
            return Done(name, 0)
        if info.dtype not in MERGED:
            _copy_buffer(plan, self.writer, name)
            return Done(name, info.elements)
        for tuned in (member for member in plan.members if isinstance(member, Tuned)):
            _check_copies(tuned, name)
        source = plan.canonical.get(name, name)
        x = inputs(plan, source, self.kernels)._replace(bounds=self.bounds)
        if plan.dtype(name) == info.dtype and not any(member.touches(source) for member in plan.members):
            read = x.base
        else:
            weights = plan.weights_at(source)
            _check_weights(self.method, source, weights)
            read = merged_read(self.method.at(source, plan.depth(source)), x, weights)
            read = posted(self.post, x, read, weights)
        step = _step(plan, self.method, source, self.chunk)
        pieces = [
            partial(self.piece, name, x, read, span, step)
            for span in spans(info.elements, max(PIECE // step, 1) * step)
        ]
        return pieces[0]() if len(pieces) == 1 else Done(name, 0, tuple(pieces))

    def piece(self, name: str, x: TensorInputs, read: Read, span: tuple[int, int], step: int) -> Done:
        """Merge and write the elements of a span."""
        dtype = DTYPES[self.plan.dtype(name)]
        for start in range(span[0], span[1], step):
            stop = min(start + step, span[1])
            values, finite = self.kernels.rounded(read(start, stop), dtype)
            if not finite:
                raise _blame(self.plan, x, name, start, stop)
            self.writer.write(name, values, start)
        return Done(name, span[1] - span[0])


def _check_weights(method: Kind, tensor: str, weights: Sequence[float]) -> None:
    """A schedule may make all weights 0 somewhere, where a mean of them is not defined."""
    if method.kind in MEANS and not any(weights):
        fix = "Give one of the models a weight there; weight 0 for all is no way to keep the base"
        raise unfit("models", f"the weights of all models are 0 at {tensor}", "", fix)


def _step(plan: Plan, method: Kind, name: str, chunk: int) -> int:
    """Elements at a time: whole blocks of an adapter's product, whole rows where they are ranked: none done twice."""
    products = [member.low_rank(name) for member in plan.members if isinstance(member, Adapter)]
    block = next((product.block for product in products if product), 1)
    shape = plan.base.info(name).shape
    if method.kind == "della" and len(shape) > 1:
        block = math.lcm(block, shape[-1])
    return max(block, chunk // block * block)


def _blame(plan: Plan, x: TensorInputs, name: str, start: int, stop: int) -> UserError:
    """The input in which the NaN or infinity was, or else the type that is too narrow."""
    named: list[tuple[str, Read]] = [(plan.base_name, x.base)]
    named += [(member.name, values) for member, values in zip(plan.members, x.values, strict=True)]
    for owner, read in named:
        if not torch.isfinite(read(start, stop)).all():
            fix = "This model is broken: make it again or leave it out"
            return wrong(owner, f"tensor {name} holds NaN or infinite values", "", fix)
    narrow = plan.dtype(name) == "F16"
    fix = "Set dtype: bfloat16 or float32" if narrow else "Make the weights and the scale of the method smaller"
    return unfit("", f"tensor {name}: merged values do not fit {plan.dtype(name)}", "", fix)


def _copy_buffer(plan: Plan, writer: ShardWriter, name: str) -> None:
    """A tensor that is no weight is copied, if all models agree on it."""
    ours = plan.base.raw(name)
    for member in plan.members:
        if isinstance(member, Tuned) and not same_bytes(ours, member.weights.raw(name)):
            what = f"tensor {name} differs from {plan.base_name}'s and is of a type that cannot be merged"
            raise wrong(member.name, what, plan.base.info(name).dtype, "Merge models that share it")
    writer.write(name, torch.from_numpy(ours))


def _check_copies(tuned: Tuned, name: str) -> None:
    """A tied head that is stored all the same must be the embedding."""
    for copy, original in tuned.aliases.items():
        stored_twice = name == original and copy in tuned.weights.tensors
        if stored_twice and not same_bytes(tuned.weights.raw(copy), tuned.weights.raw(original)):
            what = f"ties its embeddings, but {copy} and {original} are stored with different values"
            raise wrong(tuned.name, what, "", "Set tie_word_embeddings to what it is and save the model again")
