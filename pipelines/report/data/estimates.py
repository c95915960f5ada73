"""Every model against the base: differences with their intervals, score by score and group by group."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.report.data.measures import group_means
from pipelines.stats.estimate import Estimate, estimate, macro, scarce
from pipelines.stats.scores import Scores, pair

ALPHA = 0.05
"""Error rate of the intervals that the report itself makes; those of gates have their own."""

Seen = Estimate | str
"""An estimate, or why there is none."""
Estimates = Mapping[str, Mapping[str, Seen]]
"""By score and model."""


def estimates(base: Scores, models: Mapping[str, Scores]) -> dict[str, dict[str, Seen]]:
    """Every score of every model that has it, in the base's order and then the models'."""
    names = dict.fromkeys(name for scores in (base, *models.values()) for name in scores.scores)
    return {
        name: {model: _seen(base, scores, name) for model, scores in models.items() if name in scores.scores}
        for name in names
    }


def _seen(base: Scores, candidate: Scores, name: str) -> Seen:
    pairs = pair(base, candidate, name)
    if isinstance(pairs, str):
        return pairs
    return scarce(pairs) or estimate(pairs, ALPHA)


def group_estimates(suite: Mapping[str, Any], seen: Estimates) -> list[dict[str, Any]]:
    """The groups of a suite with each model's mean and its difference to the base."""
    return [
        {**group, "estimates": {model: told(_group(group["names"], model, seen)) for model in _compared(seen)}}
        for group in group_means(suite)
    ]


def _compared(seen: Estimates) -> list[str]:
    return list(dict.fromkeys(model for models in seen.values() for model in models))


def _group(names: Sequence[str], model: str, seen: Estimates) -> Seen:
    """The mean of a group's differences; of a single one that very one, with the interval that its kind deserves."""
    found = [seen[name].get(model, "not measured") for name in names]
    for name, one in zip(names, found, strict=True):
        if isinstance(one, str):
            return f"{name}: {one}"
    whole = [one for one in found if not isinstance(one, str)]
    return whole[0] if len(whole) == 1 else macro(whole, ALPHA)


def told(seen: Seen) -> dict[str, Any]:
    """As report.json has it: candidate minus base in the metric's unit."""
    if isinstance(seen, str):
        return {"differs": seen}
    return {key: item for key, item in seen._asdict().items() if key not in ("base", "candidate")}
