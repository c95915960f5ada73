"""What a trial found, which of several is better, and which of them no other beats in everything."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pipelines.search.space import Params
from pipelines.stats.drops import Scores, drop

GENERAL = "general"


class Trial(NamedTuple):
    """One candidate: its parameters, its scores, and its largest loss against the base in each group.

    A candidate that could not be made or measured has no scores, and `why` says why. `seconds` is what it took.
    """

    params: Params
    scores: dict[str, float] = {}
    objective: float | None = None
    drops: dict[str, float] = {}
    admissible: bool = False
    why: str = ""
    seconds: float = 0.0


class Rule(NamedTuple):
    """The objective, and by group the most that may be lost against the base."""

    metric: str
    largest: bool
    limits: Mapping[str, float]

    def gain(self, trial: Trial) -> float:
        """The objective with the sign that makes larger better."""
        assert trial.objective is not None
        return trial.objective if self.largest else -trial.objective


Measure = Callable[[Params], Trial]
Strategy = Callable[[Any, Rule, Measure], Trial]
"""`strategy(config, rule, measure)` has candidates measured and returns the one it ends with."""


def judged(params: Params, scores: Scores, base: Scores, rule: Rule) -> Trial:
    """The trial of a candidate with these scores. Without limits the loss of the general group is told, if any."""
    groups = {score["group"] for score in scores.values()}
    told = list(rule.limits) or sorted(groups & {GENERAL})
    drops = {group: drop(scores, base, group) for group in told}
    return Trial(
        params,
        {name: float(score["value"]) for name, score in scores.items()},
        float(scores[rule.metric]["value"]),
        drops,
        all(drops[group] <= limit for group, limit in rule.limits.items()),
    )


def violations(trial: Trial, rule: Rule) -> dict[str, float]:
    """How far beyond each limit a measured trial is; 0 or less where it keeps within."""
    return {group: trial.drops[group] - limit for group, limit in rule.limits.items()}


def rank(trial: Trial, rule: Rule) -> tuple[bool, float, float]:
    """A key that is larger for the better trial (the feasibility rules of Deb 2000, doi 10.1016/S0045-7825(99)00389-8).

    What is admissible beats what is not; of two that are, the objective decides, and of two that are not, the sum of
    the losses beyond the limits.
    """
    if trial.objective is None:
        return False, float("-inf"), 0.0
    beyond = sum(max(0.0, over) for over in violations(trial, rule).values())
    return trial.admissible, -beyond, rule.gain(trial)


def best(trials: Sequence[Trial], rule: Rule) -> Trial:
    """The best trial; of equals the one that loses least, and of these the first."""
    return max(trials, key=lambda trial: (*rank(trial, rule), -worst(trial)))


def worst(trial: Trial) -> float:
    """The largest loss in any group that is told; 0 where none is."""
    return max(trial.drops.values(), default=0.0)


def pareto(trials: Sequence[Trial], rule: Rule) -> list[int]:
    """Indices of the trials that no other beats in the objective without losing more, best objective first.

    Of trials that agree in both, the first. Nothing where no loss is told.
    """
    points = {
        index: (rule.gain(trial), -worst(trial))
        for index, trial in enumerate(trials)
        if trial.objective is not None and trial.drops
    }
    front: list[int] = []
    least = float("-inf")
    for index in sorted(points, key=lambda at: (*(-number for number in points[at]), at)):
        if points[index][1] > least:
            front.append(index)
            least = points[index][1]
    return front
