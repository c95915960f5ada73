"""One thread for each piece of work: what is in parallel is pieces, or the disk is what is waited for."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Torch computes on the calling thread alone; products and decompositions on several would be rounded otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
