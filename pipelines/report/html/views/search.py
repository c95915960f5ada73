"""Searches: the winner, what another suite confirms of it, the front as a picture, and every trial."""

from collections.abc import Mapping
from typing import Any

from pipelines.report.data.collect import Report
from pipelines.report.data.search_facts import metric_of
from pipelines.report.html.figures.spec import Plane, Point
from pipelines.report.html.views.made import fact
from pipelines.report.html.views.sentences import sentence
from pipelines.report.markdown import searched
from pipelines.report.numbers import NUMBER, SHARE, count, difference, unit_of, value

Facts = Mapping[str, Any]


def search(report: Report) -> dict[str, Any] | None:
    return {"entries": [_search(entry) for entry in report["searches"]]} if report["searches"] else None


def _search(entry: Mapping[str, Any]) -> dict[str, Any]:
    facts, trials = entry["facts"], entry["facts"]["trials"]
    groups = list(dict.fromkeys(group for trial in trials for group in trial["drops"]))
    ranked = sorted(range(len(trials)), key=lambda at: searched.order(facts, at))
    return {
        "id": entry["id"],
        "by": facts["by"],
        "trials": len(trials),
        "admissible": sum(trial["admissible"] for trial in trials),
        "rule": searched.rule_of(facts),
        "winner": _params(facts["winner"]),
        "metric": metric_of(facts),
        "groups": groups,
        "gains": [_gain(gain) for gain in entry["gains"]],
        "says": sentence(searched.overfit(entry["gains"], len(trials))),
        "plane": _plane(entry["id"], facts),
        "rows": [_trial(facts, at, groups) for at in ranked],
        "notes": facts["search_notes"],
    }


def _gain(gain: Mapping[str, Any]) -> dict[str, Any]:
    unit = gain["unit"]
    return {
        "suite": gain["suite"],
        "n": count(gain["n"]),
        "base": value(gain["base"], unit),
        "winner": value(gain["winner"], unit),
        "gain": difference(gain["gain"], unit),
    }


def _trial(facts: Facts, at: int, groups: list[str]) -> dict[str, Any]:
    trial = facts["trials"][at]
    return {
        "number": at + 1,
        "best": at == facts["best"],
        "front": at in facts["pareto"],
        "params": _params(trial["params"]),
        "objective": value(trial["objective"], _unit(facts, [metric_of(facts)])),
        "drops": [difference(trial["drops"].get(group), _unit(facts, _members(facts, group))) for group in groups],
        "admissible": trial["admissible"],
        "why": trial["why"],
    }


def _params(params: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(path, f"{given:.6g}" if isinstance(given, float) else fact(given)) for path, given in params.items()]


def _members(facts: Facts, group: str) -> list[str]:
    return [name for name, score in facts["base"]["scores"].items() if score["group"] == group]


def _unit(facts: Facts, names: list[str]) -> str:
    """The unit that the scores share; plain numbers where they share none."""
    units = {unit_of(name.rpartition("/")[2], [facts["base"]["scores"][name]["value"]]) for name in names}
    return units.pop() if len(units) == 1 else NUMBER


def _plane(ref: str, facts: Facts) -> Plane | None:
    """The trials and the base; to the right the objective, downward the largest loss."""
    measured = [at for at, trial in enumerate(facts["trials"]) if trial["objective"] is not None]
    if not measured:
        return None
    metric = metric_of(facts)
    front = set(facts["pareto"])
    points = [Point("base", facts["base"]["scores"][metric]["value"], 0.0, "base", False)]
    for at in measured:
        trial = facts["trials"][at]
        kind = "candidate" if at == facts["best"] else "model" if trial["admissible"] else "beyond"
        loss = max(trial["drops"].values(), default=0.0)
        points.append(Point(str(at + 1), trial["objective"], loss, kind, at in front))  # type: ignore[arg-type]
    units = {_unit(facts, _members(facts, group)) for group in facts["subject_to"]}
    percent = (_unit(facts, [metric]) == SHARE, units == {SHARE})
    return Plane(
        f"Trials of {ref}: {metric} against the largest loss",
        metric,
        "largest loss against the base",
        tuple(points),
        percent,
        turned=("minimize" in facts["objective"], True),
        limit=min(facts["subject_to"].values()) if len(units) == 1 else None,
    )
