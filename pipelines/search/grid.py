"""Every combination of the listed values."""

import itertools
from collections.abc import Mapping

from pipelines.evaluate.draw import draw
from pipelines.search.config import Over, Range, SearchConfig
from pipelines.search.space import Params, size
from pipelines.search.trial import Measure, Rule, Trial, best

SCALES = ("method.lambda", "method.alpha")
"""What only scales a difference: candidates that differ in nothing else follow each other, and share the difference."""


def grid(config: SearchConfig, rule: Rule, measure: Measure) -> Trial:
    """The best of the product of all lists, or of a seeded sample of it where `trials` is smaller."""
    points = every(config.over)
    return best([measure(points[index]) for index in draw(len(points), config.trials, config.seed, "grid")], rule)


def every(over: Mapping[str, Over]) -> list[Params]:
    """All points of a space of lists; scales change fastest. The order of the paths does not matter."""
    paths = sorted(over, key=lambda path: (path.startswith(SCALES), path))
    lists = [() if isinstance(values := over[path], Range) else values for path in paths]
    return [dict(zip(paths, point, strict=True)) for point in itertools.product(*lists)]


def capped(config: SearchConfig) -> str:
    """What is said where the grid has more points than trials; nothing where it has not."""
    points = size(config.over) or 0
    if config.by != "grid" or points <= config.trials:
        return ""
    return f"The grid has {points} points, and trials: {config.trials} allows for a seeded sample of them."
