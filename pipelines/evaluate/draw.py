"""Which documents are measured: a seeded sample, the same for every model."""

import random


def draw(count: int, limit: int | None, seed: int, name: str) -> list[int]:
    """Sorted indices of a random sample of `limit` out of `count`, or of all of them.

    Sorted, because lm-eval gives its documents in their own order and labels them in ours (field bug: unsorted ids
    mislabel every sample). `name` keeps two measurements of one suite from drawing alike.
    """
    if limit is None or limit >= count:
        return list(range(count))
    return sorted(random.Random(f"{seed}:{name}").sample(range(count), limit))
