"""Greedy soup: models enter a uniform mean one after the other, best first, and stay where the score does not drop.

Paper: Wortsman et al. 2022, "Model soups", arXiv 2203.05482, recipe 1.

Divergences: limits may rule soups out. A soup within the limits is better than one beyond them, and of two beyond them
the one that is less so; the paper has no limits. Weights of the recipe are kept, so that the soup is uniform only where
they are equal.
"""

from pipelines.merge.schedule import numbers
from pipelines.search.config import SearchConfig
from pipelines.search.space import Params
from pipelines.search.trial import Measure, Rule, Trial, rank


def greedy(config: SearchConfig, rule: Rule, measure: Measure) -> Trial:
    """The soup that is left when every model had its turn, after 2 n - 1 trials. Equal models keep their order."""
    members = [index for index, member in enumerate(config.merge.models) if any(numbers(member.weight))]
    alone = {index: measure(soup(config, [index])) for index in members}
    first, *others = sorted(members, key=lambda index: rank(alone[index], rule), reverse=True)
    chosen, trial = [first], alone[first]
    for index in others:
        tried = measure(soup(config, [*chosen, index]))
        if rank(tried, rule) >= rank(trial, rule):
            chosen, trial = [*chosen, index], tried
    return trial


def soup(config: SearchConfig, chosen: list[int]) -> Params:
    """The parameters of the mean of some models: the others weigh nothing."""
    models = config.merge.model_dump(mode="json")["models"]
    return {f"models.{at}.weight": model["weight"] if at in chosen else 0.0 for at, model in enumerate(models)}
