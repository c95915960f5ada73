"""Several processes of one evaluation: each computes every n-th batch, and all come to know all results.

The batches are those that one process would make, and so are the scores, to the last bit.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist

Batch = TypeVar("Batch")
Result = TypeVar("Result")

_PATIENCE = timedelta(days=7)
"""Shares take unlike times; a process that died is its launcher's to notice."""


def launched_rank() -> int:
    """This process among those that the launcher started, whether they have joined or not."""
    return int(os.environ.get("RANK", "0"))


@contextmanager
def processes() -> Iterator[None]:
    """Join the other processes of a launched stage, each with an accelerator of its own. Alone, nothing happens."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    if torch.accelerator.is_available():
        torch.accelerator.set_device_index(int(os.environ["LOCAL_RANK"]) % torch.accelerator.device_count())
    dist.init_process_group("gloo", timeout=_PATIENCE)
    try:
        yield
    finally:
        dist.destroy_process_group()


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def shared(
    batches: Sequence[Batch], compute: Callable[[Batch], Result], tick: Callable[[int, int], None] = lambda *_: None
) -> list[Result]:
    """`compute` of every batch, in their order, each computed by one process; all processes get all of it.

    `tick` is told how many batches are done, taking the other processes to be as far as this one.
    """
    mine = []
    for batch in batches[rank() :: world()]:
        mine.append(compute(batch))
        tick(min(len(mine) * world(), len(batches)), len(batches))
    parts: list[list[Result]] = [mine] * world()
    if world() > 1:
        dist.all_gather_object(parts, mine)
    return [parts[place % world()][place // world()] for place in range(len(batches))]


def told(ask: Callable[[], Result]) -> Result:
    """What the first process is told when it asks; also where all wait for each other."""
    values: list[Any] = [ask()] if rank() == 0 else [None]
    if world() > 1:
        dist.broadcast_object_list(values)
    return cast(Result, values[0])
