"""Several models made alike with other seeds: what their making leaves to chance beside the choice of documents."""

import math
from typing import NamedTuple

from pipelines.stats.cluster import Codes, Floats
from pipelines.stats.student import t_quantile


class OverSeeds(NamedTuple):
    """Mean difference to the base over `seeds` models; `sd_seeds` is the standard deviation between seeds alone."""

    seeds: int
    delta: float
    low: float
    high: float
    sd_seeds: float


def over_seeds(base: Floats, candidates: Floats, alpha: float, clusters: Codes | None = None) -> OverSeeds:
    """Items and seeds crossed, both random: d_si = Delta + seed_s + item_i + rest_si. Shapes (n,), (S, n), (n,).

    Mean squares of the two-way table without replication give unbiased components of variance (Searle, Casella and
    McCulloch 1992, Variance Components; Brennan 2001, Generalizability Theory), here
    Var(mean) = (MS_items + MS_seeds - MS_rest) / (n S), with Satterthwaite's degrees of freedom. As a difference of
    mean squares can fall below what one of them says alone, the larger of MS_items and MS_seeds is its floor.
    """
    differences = candidates - base
    seeds, n = differences.shape
    delta = float(differences.mean())
    rows, columns = differences.mean(axis=1), differences.mean(axis=0)
    items = seeds * float(((columns - delta) ** 2).sum()) / (n - 1)
    seed = n * float(((rows - delta) ** 2).sum()) / (seeds - 1)
    rest = float(((differences - rows[:, None] - columns + delta) ** 2).sum()) / ((n - 1) * (seeds - 1))
    raw = max(items + seed - rest, items, seed)
    parts = items**2 / (n - 1) + seed**2 / (seeds - 1) + rest**2 / ((n - 1) * (seeds - 1))
    reach = t_quantile(1 - alpha / 2, raw**2 / parts) * math.sqrt(raw / (n * seeds)) if raw else 0.0
    return OverSeeds(seeds, delta, delta - reach, delta + reach, math.sqrt(max(0.0, seed - rest) / n))
