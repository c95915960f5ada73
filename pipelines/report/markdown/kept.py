"""What was learned and what was kept: group means by model, retention, replay, and the choice among models."""

from collections.abc import Mapping
from typing import Any

from pipelines.report.data.collect import Report
from pipelines.report.data.measures import BASE, common_unit
from pipelines.report.markdown.blocks import section, table
from pipelines.report.markdown.scored import direction
from pipelines.report.numbers import ABSENT, SHARE, difference, interval, percent, value
from pipelines.report.text import code, name


def learned_and_kept(report: Report) -> str:
    """Skill gained against ability kept, for every measured model; and the replay that was to keep it."""
    kept = report["forgetting"]["models"]
    tables = [
        _groups(title, suite, {one["model"]: one for one in kept if one["suite"] == title})
        for title, suite in report["suites"].items()
        if len(suite["models"]) > 1
    ]
    legend = (
        "Retention: mean over the general scores of what is left of the base's ability above chance; not said of "
        "scores on which the base does little better than chance."
    )
    retains = any(one["retained"] for one in kept)
    return section("Learned and kept", *tables, legend if retains else "", _replay(report))


def selection(report: Report) -> str:
    """Which model was picked from which, by what rule."""
    return section("Selection", *(_choice(report, entry) for entry in report["selections"]))


def _groups(title: str, suite: Mapping[str, Any], kept: Mapping[str, Mapping[str, Any]]) -> str:
    """Means of the groups: absolute for the base, differences to it with their intervals for the others."""
    groups = suite["groups"]
    if not groups or BASE not in suite["models"]:
        return ""
    retains = any(one["retained"] for one in kept.values())
    heads = [*(_group_head(group) for group in groups), *(["retention"] if retains else [])]
    rows = [
        [name(BASE), *(value(group["means"][BASE], group["unit"]) for group in groups), *([ABSENT] if retains else [])]
    ]
    for model in suite["models"]:
        if model != BASE:
            deltas = [_difference(group["estimates"][model], group["unit"]) for group in groups]
            share = [value(kept[model]["retention"], SHARE)] if retains else []
            rows.append([name(model), *deltas, *share])
    return table([f"suite {name(title)}", *heads], rows)


def _difference(seen: Mapping[str, Any], unit: str) -> str:
    if "delta" not in seen:
        return ABSENT
    return f"{difference(seen['delta'], unit)} {interval(seen['low'], seen['high'], unit)}"


def _group_head(group: Mapping[str, Any]) -> str:
    unit = "" if group["unit"] in (SHARE, "number") else f", {group['unit']}"
    mean = f", mean of {group['scores']}" if group["scores"] > 1 else ""
    return f"{name(group['group'])}{unit}{mean}{direction(group)}"


def _replay(report: Report) -> str:
    rows = [
        [name(replay["id"]), percent(replay["wanted"]), percent(replay["achieved"])]
        for replay in report["forgetting"]["replay"]
        if replay["wanted"]
    ]
    return table(["replay, share of the loss tokens", "wanted", "achieved"], rows) if rows else ""


def _choice(report: Report, entry: Mapping[str, Any]) -> str:
    facts = entry["facts"]
    unit = common_unit(report["suites"], lambda row: row["name"] in facts["rule"])
    groups = list(dict.fromkeys(group for row in facts["table"] for group in row["drops"]))
    heads = [f"{name(entry['id'])}: model", "score", *(f"drop of {name(group)}" for group in groups), "admissible"]
    rows = [
        [
            f"**{name(row['name'])}**" if row["name"] == facts["picked"] else name(row["name"]),
            value(row["score"], unit),
            *(_drop(report, row["drops"].get(group), group) for group in groups),
            "yes" if row["admissible"] else "no",
        ]
        for row in facts["table"]
    ]
    return f"Picked {name(facts['picked'])} by the rule {code(facts['rule'])}.\n\n{table(heads, rows)}"


def _drop(report: Report, drop: float | None, group: str) -> str:
    return difference(drop, common_unit(report["suites"], lambda row: row["group"] == group))
