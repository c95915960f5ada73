"""Searches that sample where good candidates were found: TPE and CMA-ES, both by Optuna.

TPE: Bergstra et al. 2011, "Algorithms for hyper-parameter optimization", with constraints as in Watanabe and Hutter
2023, arXiv 2211.14411. CMA-ES: Hansen 2016, arXiv 1604.00772.

Optuna (MIT) and cmaes (MIT) take 0.3 s to import and are installed by the extra `search`. Samplers are seeded and told
every result in the order of the trials, so that a search that is run again, or goes on after a kill, asks for the same
candidates.

CMA-ES over `models.*.weight` is the learned soup of Wortsman et al. 2022 (arXiv 2203.05482), with one divergence: there
the weights follow the gradient of a loss; here nothing is differentiated, and the score itself decides.
"""

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, TPESampler
from optuna.trial import TrialState

from pipelines.search.config import Over, Range, SearchConfig
from pipelines.search.space import Params, size
from pipelines.search.trial import Measure, Rule, Trial, best, rank, violations

_ASKED_AGAIN = 10
"""How often a sampler may ask for what it knows already, per trial."""
_FAR = 1e9
"""Further below zero than any score: what CMA-ES, which knows no limits, is told of candidates beyond them."""


def tpe(config: SearchConfig, rule: Rule, measure: Measure) -> Trial:
    """The best of what a tree-structured Parzen estimator asks for; limits are told as constraints."""
    startup = max(1, min(10, config.trials // 3))
    return _sampled(config, rule, measure, TPESampler(seed=config.seed, n_startup_trials=startup))


def cmaes(config: SearchConfig, rule: Rule, measure: Measure) -> Trial:
    """The best of what a covariance matrix adaptation asks for."""
    return _sampled(config, rule, measure, CmaEsSampler(seed=config.seed, warn_independent_sampling=False))


def _sampled(config: SearchConfig, rule: Rule, measure: Measure, sampler: BaseSampler) -> Trial:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    space = {path: _distribution(config.over[path]) for path in sorted(config.over)}
    wanted = min(config.trials, size(config.over) or config.trials)
    found: dict[str, Trial] = {}
    for _ in range(_ASKED_AGAIN * config.trials):
        asked = study.ask(space)
        trial = measure(_params(config.over, asked.params))
        found[repr(trial.params)] = trial
        _tell(study, asked, trial, rule)
        if len(found) == wanted:
            break
    return best(list(found.values()), rule)


def _distribution(values: Over) -> BaseDistribution:
    """Choices are sampled by their places in the list, because they may be anything."""
    if not isinstance(values, Range):
        return CategoricalDistribution(list(range(len(values))))
    if values.whole:
        return IntDistribution(int(values.low), int(values.high), step=int(values.step or 1))
    return FloatDistribution(values.low, values.high, log=values.log, step=values.step)


def _params(over: Mapping[str, Over], asked: Mapping[str, Any]) -> Params:
    """The values that were asked for; of fractions six digits, so that a recipe can state them."""
    found: Params = {}
    for path, value in asked.items():
        values = over[path]
        if not isinstance(values, Range):
            found[path] = values[value]
        elif values.whole:
            found[path] = value
        else:
            found[path] = min(max(float(f"{value:.6g}"), values.low), values.high)
    return found


def _tell(study: optuna.Study, asked: optuna.Trial, trial: Trial, rule: Rule) -> None:
    """A result with what it is beyond its limits; what could not be measured has failed."""
    if trial.objective is None:
        study.tell(asked, state=TrialState.FAIL)
        return
    _, less, gain = rank(trial, rule)
    if not isinstance(study.sampler, CmaEsSampler):
        for group, beyond in violations(trial, rule).items():
            asked.set_constraint(group, beyond)
    elif not trial.admissible:
        gain = _FAR * (less - 1)
    study.tell(asked, gain)
