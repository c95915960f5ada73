"""The section of searches: the winner, what another suite confirms of it, the Pareto front, the trials."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.report.data.collect import Report
from pipelines.report.data.search_facts import metric_of
from pipelines.report.markdown.blocks import bullets, folded, section, table
from pipelines.report.markdown.facts import shown
from pipelines.report.numbers import ABSENT, NUMBER, count, difference, unit_of, value
from pipelines.report.text import name, prose

BEST = 10
"""Trials that are shown before the fold."""
_COLUMNS = 4
"""Parameters that get a column each; more of them share one."""

Facts = Mapping[str, Any]


def search(report: Report, rest: bool = True) -> str:
    """Every search; without the `rest` of the trials where there is little room."""
    return section("Search", *(block for entry in report["searches"] for block in _search(entry, rest)))


def rule_of(facts: Facts) -> str:
    """The rule in words, such as `maximize tickets/exact_match, general: max_drop 0.02`."""
    goal, metric = next(iter(facts["objective"].items()))
    return ", ".join(
        [f"{goal} {metric}", *(f"{group}: max_drop {most:g}" for group, most in facts["subject_to"].items())]
    )


def _search(entry: Mapping[str, Any], rest: bool) -> list[str]:
    facts = entry["facts"]
    trials = facts["trials"]
    admissible = sum(trial["admissible"] for trial in trials)
    head = (
        f"{name(entry['id'])}: the best of {len(trials)} trials ({name(facts['by'])}), {admissible} of them "
        f"admissible, by the rule {name(rule_of(facts))}. Winner: {_values(facts['winner'])}."
    )
    ranked = sorted(range(len(trials)), key=lambda at: order(facts, at))
    others = _trials(facts, ranked[BEST:])
    return [
        head,
        _gains(entry["gains"]),
        overfit(entry["gains"], len(trials)),
        _front(entry),
        _trials(facts, ranked[:BEST]),
        folded(f"{len(ranked) - BEST} other trials", others) if rest and others else "",
        bullets(prose(note) for note in facts["search_notes"]),
    ]


def _gains(gains: Sequence[Mapping[str, Any]]) -> str:
    heads = ["gain over the base", "suite", "n", "base", "winner", "gain"]
    rows = [
        [
            name(gain["name"]),
            name(gain["suite"]) + (" (searched on)" if at == 0 else ""),
            count(gain["n"]),
            value(gain["base"], gain["unit"]),
            value(gain["winner"], gain["unit"]),
            difference(gain["gain"], gain["unit"]),
        ]
        for at, gain in enumerate(gains)
    ]
    return table(heads, rows, left=2)


def overfit(gains: Sequence[Mapping[str, Any]], trials: int) -> str:
    """What the gain on the searched suite flatters by, as far as other suites tell."""
    first, *others = gains
    if not others:
        return (
            f"No other suite measured the winner: as the best of {trials} trials, its gain on {name(first['suite'])} "
            "is flattered by an unknown amount."
        )
    return " ".join(_compared(first, other, trials) for other in others)


def _compared(first: Mapping[str, Any], other: Mapping[str, Any], trials: int) -> str:
    searched, unseen = name(first["suite"]), name(other["suite"])
    excess = first["gain"] - other["gain"]
    if other["seen"]:
        return (
            f"{unseen} says nothing of overfitting: {count(other['seen'])} of its {count(other['n'])} documents were "
            f"searched on."
        )
    if excess <= 0:
        return (
            f"No sign that the search overfitted: the gain on {unseen}, which it never saw, is no smaller than that on "
            f"{searched}."
        )
    by = difference(excess, first["unit"]).removeprefix("+")
    return (
        f"The search overfitted by {by}: its gain on {searched}, where it is the best of {trials} trials, less that on "
        f"{unseen}, which it never saw."
    )


def _front(entry: Mapping[str, Any]) -> str:
    facts = entry["facts"]
    if not facts["pareto"]:
        return ""
    front = f"Pareto front of {name(metric_of(facts))} against the largest loss of general ability"
    picture = entry["picture"]
    where = f"as a picture in {name(picture)} beside this report" if picture else "its picture needs matplotlib"
    return f"{front}; {where}.\n\n" + _trials(facts, facts["pareto"], "on the front")


def _trials(facts: Facts, chosen: Sequence[int], title: str = "trial") -> str:
    """A line a trial, numbered in the order in which they were tried."""
    if not chosen:
        return ""
    trials = facts["trials"]
    paths = list(dict.fromkeys(path for trial in trials for path in trial["params"]))
    spread = len(paths) <= _COLUMNS
    groups = list(dict.fromkeys(group for trial in trials for group in trial["drops"]))
    unit = _unit(facts, [metric_of(facts)])
    heads = [title, *([name(path) for path in paths] if spread else ["parameters"]), name(metric_of(facts))]
    heads += [*(f"drop of {name(group)}" for group in groups), "admissible"]
    rows = []
    for at in chosen:
        trial = trials[at]
        values = [_given(trial["params"].get(path)) for path in paths] if spread else [_values(trial["params"])]
        drops = [difference(trial["drops"].get(group), _unit_of_group(facts, group)) for group in groups]
        number = f"**{at + 1}**" if at == facts["best"] else str(at + 1)
        told = "yes" if trial["admissible"] else prose(trial["why"]) or "no"
        rows.append([number, *values, value(trial["objective"], unit), *drops, told])
    return table(heads, rows)


def _values(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{name(path)} {_given(given)}" for path, given in params.items()) or ABSENT


def _given(given: Any) -> str:
    """A value as a recipe states it."""
    return f"{given:.6g}" if isinstance(given, float) else shown(given)


def order(facts: Facts, at: int) -> tuple[bool, bool, float, int]:
    trial = facts["trials"][at]
    sign = -1 if "maximize" in facts["objective"] else 1
    objective = trial["objective"]
    return at != facts["best"], not trial["admissible"], float("inf") if objective is None else sign * objective, at


def _unit_of_group(facts: Facts, group: str) -> str:
    """The unit that the scores of a group share; plain numbers where they share none."""
    names = [name for name, score in facts["base"]["scores"].items() if score["group"] == group]
    units = {_unit(facts, [name]) for name in names}
    return units.pop() if len(units) == 1 else NUMBER


def _unit(facts: Facts, names: Sequence[str]) -> str:
    values = [trial["scores"][name] for trial in facts["trials"] for name in names if name in trial["scores"]]
    values += [facts["base"]["scores"][name]["value"] for name in names]
    return unit_of(names[0].rpartition("/")[2], values)
