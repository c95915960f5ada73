"""One model's own value with its interval: for what must reach a floor, or must not pass a limit, base or no base."""

from typing import NamedTuple

import numpy as np

from pipelines.stats.binary import proportion
from pipelines.stats.cluster import Codes, clustered, count, repeats, t_interval, totals
from pipelines.stats.estimate import complete, too_few
from pipelines.stats.resample import Floats, bootstrap


class Level(NamedTuple):
    """A value and its interval in the metric's unit, from n documents in so many clusters, if they have any."""

    value: float
    low: float
    high: float
    n: int
    clusters: int | None
    method: str


def level(values: Floats, weights: Floats | None, clusters: Codes | None, alpha: float) -> Level:
    """Shares by Clopper and Pearson's exact interval, other means and ratios by the bootstrap or clustered t.

    A ratio that is 1 on every document has no spread to draw from: the share of such documents speaks for it.

    `values`, `weights` (None for a mean) and `clusters` (None for none) have shape (n,). ValueError where
    there are too few documents or clusters.
    """
    n, groups = len(values), count(clusters)
    if too_few(n, groups):
        raise ValueError(f"{n} documents in {groups} clusters are too few to judge")
    if weights is not None:
        unit, units = ("document", n) if groups is None else ("cluster", groups)
        if complete(values, weights):
            return Level(1.0, *proportion(units, units, alpha), n, groups, f"Clopper-Pearson interval of {unit}s")
        low, high = bootstrap(totals(values, clusters), totals(weights, clusters), alpha)
        return Level(float(values.sum() / weights.sum()), low, high, n, groups, f"{unit} bootstrap-t interval")
    value = float(values.mean())
    if np.isin(values, (0.0, 1.0)).all():
        alone, method = repeats(values, clusters, alpha), "Clopper-Pearson interval"
        low, high = proportion(value * n / alone, n / alone, alpha)
        return Level(value, low, high, n, groups, method + (" with a design effect" if groups else ""))
    if clusters is None:
        return Level(value, *bootstrap(values, None, alpha), n, groups, "bootstrap-t interval")
    return Level(value, *t_interval(clustered(values, clusters), alpha), n, groups, "clustered t interval (CR2)")
