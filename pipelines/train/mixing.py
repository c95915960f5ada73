"""Which rows make up each optimizer step: seeded passes over the new ones, and replayed ones at an exact share."""

import random
from collections.abc import Iterator, Sequence
from itertools import islice


def plan_blocks(
    new: Sequence[int],
    replay: Sequence[int],
    *,
    ratio: float,
    batch_size: int,
    epochs: float,
    max_steps: int | None,
    seed: int,
) -> list[tuple[int, ...]]:
    """The rows of every optimizer step, in order; each block holds `batch_size` rows, the last one what is left.

    `new` and `replay` are the loss tokens of each row, all positive. Row i is new[i], row len(new) + j is replay[j].
    The plan ends with the last new row of `epochs` passes (rounded to rows, one at least), or after `max_steps` blocks
    however many passes that takes. Replayed rows take places of their own, so they add steps, never cost new rows.
    """
    order = interleave(new, replay, ratio, seed) if replay else passes(len(new), seed, "new")
    if max_steps is not None:
        rows = list(islice(order, max_steps * batch_size))
    else:
        rows = list(_until(order, len(new), max(1, round(epochs * len(new)))))
    return [tuple(rows[start : start + batch_size]) for start in range(0, len(rows), batch_size)]


def interleave(new: Sequence[int], replay: Sequence[int], ratio: float, seed: int) -> Iterator[int]:
    """Rows without end, new and replayed, so that the replayed share of the loss tokens is `ratio` at every point.

    Error diffusion (Bresenham 1965): of the two rows that may come next, the one that leaves the replayed tokens closer
    to `ratio` times all tokens. After every row they differ by at most half the longest row, precisely by
    ((1 - ratio) * max(replay) + ratio * max(new)) / 2, so any run of rows, a block above all, is off by a row at most.
    """
    fresh, old = passes(len(new), seed, "new"), passes(len(replay), seed, "replay")
    ahead, back = next(fresh), next(old)
    total = replayed = 0
    while True:
        owed = ratio * total - replayed
        if 2 * owed > (1 - ratio) * replay[back] - ratio * new[ahead]:
            yield len(new) + back
            total, replayed = total + replay[back], replayed + replay[back]
            back = next(old)
        else:
            yield ahead
            total += new[ahead]
            ahead = next(fresh)


def passes(count: int, seed: int, name: str) -> Iterator[int]:
    """0 .. count - 1 in a new order each time, without end. The orders depend on seed and name alone."""
    turn = 0
    while True:
        order = list(range(count))
        random.Random(f"{seed}/{name}/{turn}").shuffle(order)
        yield from order
        turn += 1


def _until(order: Iterator[int], new_rows: int, wanted: int) -> Iterator[int]:
    """Rows up to the one that is the `wanted`-th new row."""
    for row in order:
        yield row
        wanted -= row < new_rows
        if not wanted:
            return
