"""One model's own value with its interval: for what must reach a floor, or must not pass a limit, base or no base."""

from typing import NamedTuple

import numpy as np

from pipelines.stats.binary import wilson
from pipelines.stats.cluster import Codes, clustered, count, t_interval, totals
from pipelines.stats.estimate import too_few
from pipelines.stats.resample import Floats, mean_interval, ratio_interval


class Level(NamedTuple):
    """A value and its interval in the metric's unit, from n documents in so many clusters, if they have any."""

    value: float
    low: float
    high: float
    n: int
    clusters: int | None
    method: str


def level(values: Floats, weights: Floats | None, clusters: Codes | None, alpha: float) -> Level:
    """Shares by Wilson's score interval, other means and ratios by the bootstrap, clustered means by t.

    `values`, `weights` (None for a mean) and `clusters` (None for none) have shape (n,).
    """
    n, groups = len(values), count(clusters)
    if too_few(n, groups):
        raise ValueError(f"{n} documents in {groups} clusters are too few to judge")
    if weights is not None:
        low, high = ratio_interval(totals(values, clusters), totals(weights, clusters), alpha)
        return Level(float(values.sum() / weights.sum()), low, high, n, groups, "document bootstrap")
    value = float(values.mean())
    if clusters is not None:
        return Level(value, *t_interval(clustered(values, clusters), alpha), n, groups, "clustered t interval (CR2)")
    if np.isin(values, (0.0, 1.0)).all():
        return Level(value, *wilson(float(values.sum()), n, alpha), n, groups, "Wilson score interval")
    return Level(value, *mean_interval(values, alpha), n, groups, "bootstrap")
