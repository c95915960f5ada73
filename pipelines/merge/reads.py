"""The one shape that tensors have inside a merge: a function that gives any slice of them in fp32.

A `Read` maps (start, stop) to the elements [start, stop) of the flattened tensor. A merge method turns the Reads of
its inputs into the Read of its output, so the same code merges tensors in a notebook and files far larger than
memory. What a Read returns may be the mapped file itself: never write into it.
"""

from collections.abc import Callable, Iterator, Sequence

import torch

Read = Callable[[int, int], torch.Tensor]

CHUNK = 1 << 16
"""Elements handled at a time: small enough for the temporaries to stay in a core's cache."""


def stored(tensor: torch.Tensor) -> Read:
    """Read a tensor of any float type and shape."""
    flat = tensor.reshape(-1)
    return lambda start, stop: flat[start:stop].float()


def remembered(read: Read) -> Read:
    """Read each slice once although several readers want it in turn. For one thread."""
    last: tuple[int, int] = (0, 0)
    values = torch.empty(0)

    def again(start: int, stop: int) -> torch.Tensor:
        nonlocal last, values
        if (start, stop) != last:
            last, values = (start, stop), read(start, stop)
        return values

    return again


def difference(tuned: Read, base: Read) -> Read:
    """The task vector tuned - base (Ilharco et al. 2022, arXiv 2212.04089)."""
    return lambda start, stop: torch.sub(tuned(start, stop), base(start, stop))


def spans(size: int, step: int = CHUNK) -> Iterator[tuple[int, int]]:
    """Neighbouring slices that cover `size` elements."""
    return ((start, min(start + step, size)) for start in range(0, size, step))


def whole(read: Read, like: torch.Tensor) -> torch.Tensor:
    """All elements at once, in the shape of `like`."""
    pieces = [read(start, stop) for start, stop in spans(like.numel())]
    return torch.cat(pieces).view(like.shape) if pieces else torch.empty(like.shape)


def task_vectors(base: torch.Tensor, tuned: Sequence[torch.Tensor]) -> tuple[Read, list[Read]]:
    """The Reads of a base and of what each tuned tensor adds to it. ValueError when shapes differ."""
    if any(tensor.shape != base.shape for tensor in tuned):
        raise ValueError(f"shapes differ: base {tuple(base.shape)}, tuned {[tuple(tensor.shape) for tensor in tuned]}")
    start = remembered(stored(base))
    return start, [difference(stored(tensor), start) for tensor in tuned]
