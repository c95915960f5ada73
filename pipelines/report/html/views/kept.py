"""What was learned against what was kept: models in the plane of both, group means, retention, replay, the choice."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines.report.data.collect import Report
from pipelines.report.data.forgetting import GENERAL, TARGET
from pipelines.report.data.measures import BASE, common_unit
from pipelines.report.html.figures.spec import Plane, Point
from pipelines.report.html.views.effects import LOWER, direction, in_order
from pipelines.report.numbers import ABSENT, NUMBER, SHARE, difference, interval, percent, value


def kept(report: Report) -> dict[str, Any] | None:
    titles = [title for title in in_order(report) if _compares(report["suites"][title])]
    suites = [_suite(report, title) for title in titles]
    replay = [
        (found["id"], percent(found["wanted"]), percent(found["achieved"]))
        for found in report["forgetting"]["replay"]
        if found["wanted"]
    ]
    choices = [_choice(report, entry) for entry in report["selections"]]
    return {"suites": suites, "replay": replay, "choices": choices} if suites or replay or choices else None


def planes(report: Report, title: str) -> list[Plane]:
    """General ability against what is to be learned, a picture a unit."""
    groups = report["suites"][title]["groups"]
    learned = [group for group in groups if group["group"] == TARGET]
    others = [group for group in groups if group["group"] == GENERAL]
    return [_plane(report, title, gained, saved) for gained in learned for saved in others]


def front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Which points no other one beats: none is as good in both and better in one. More is better in both."""
    return [not any(a >= x and b >= y and (a, b) != (x, y) for a, b in points) for x, y in points]


def _compares(suite: Mapping[str, Any]) -> bool:
    return len(suite["models"]) > 1 and BASE in suite["models"]


def _plane(report: Report, title: str, gained: Mapping[str, Any], saved: Mapping[str, Any]) -> Plane:
    axes = (gained, saved)
    models = report["suites"][title]["models"]
    spots = [(gained["means"][model], saved["means"][model]) for model in models]
    signs = [-1 if axis["lower_is_better"] else 1 for axis in axes]
    best = front([(signs[0] * x, signs[1] * y) for x, y in spots])
    kinds: dict[str, Any] = {BASE: "base", report["candidate"]: "candidate"}
    points = tuple(
        Point(model, x, y, kinds.get(model, "model"), on) for model, (x, y), on in zip(models, spots, best, strict=True)
    )
    x_label, y_label = (_axis(axis) for axis in axes)
    shares = (gained["unit"] == SHARE, saved["unit"] == SHARE)
    turned = (bool(gained["lower_is_better"]), bool(saved["lower_is_better"]))
    return Plane(f"Suite {title}: {x_label} and {y_label}", x_label, y_label, points, shares, turned)


def _axis(group: Mapping[str, Any]) -> str:
    unit = "" if group["unit"] in (SHARE, NUMBER) else f", {group['unit']}"
    mean = f", mean of {group['scores']}" if group["scores"] > 1 else ""
    return f"{group['group']}{unit}{mean}"


def _suite(report: Report, title: str) -> dict[str, Any]:
    suite = report["suites"][title]
    others = [model for model in suite["models"] if model != BASE]
    told = {kept["model"]: kept for kept in report["forgetting"]["models"] if kept["suite"] == title}
    return {
        "title": title,
        "planes": planes(report, title),
        "heads": [_axis(group) + (f" {LOWER}" if group["lower_is_better"] else "") for group in suite["groups"]],
        "base": [value(group["means"][BASE], group["unit"]) for group in suite["groups"]],
        "rows": [
            (model, [_moved(group, model) for group in suite["groups"]], value(told[model]["retention"], SHARE))
            for model in others
        ],
        "others": others,
        "retention": list(_retention(suite, others)),
    }


def _moved(group: Mapping[str, Any], model: str) -> dict[str, Any]:
    """How far a model moved a group's mean, and whether its interval leaves out zero."""
    seen = group["estimates"].get(model, {})
    low, high = seen.get("low"), seen.get("high")
    bounds = interval(low, high, group["unit"])
    return {
        "delta": difference(group["means"][model] - group["means"][BASE], group["unit"]),
        "interval": "" if bounds == ABSENT else bounds,
        "direction": direction(low, high, group["lower_is_better"]),
    }


def _retention(suite: Mapping[str, Any], others: Sequence[str]) -> Iterator[tuple[str, list[float | None]]]:
    """Scores to keep, of which at least one model's retention can be told."""
    for row in suite["rows"]:
        left = [row["retention"].get(model) for model in others]
        if row["group"] != TARGET and any(share is not None for share in left):
            yield row["name"], left


def _choice(report: Report, entry: Mapping[str, Any]) -> dict[str, Any]:
    facts = entry["facts"]
    unit = common_unit(report["suites"], lambda row: row["name"] in facts["rule"])
    groups = list(dict.fromkeys(group for row in facts["table"] for group in row["drops"]))
    units = {group: common_unit(report["suites"], lambda row, group=group: row["group"] == group) for group in groups}  # type: ignore[misc]
    rows = [
        {
            "name": row["name"],
            "picked": row["name"] == facts["picked"],
            "score": value(row["score"], unit),
            "drops": [difference(row["drops"].get(group), units[group]) for group in groups],
            "admissible": row["admissible"],
        }
        for row in facts["table"]
    ]
    return {"id": entry["id"], "picked": facts["picked"], "rule": facts["rule"], "groups": groups, "rows": rows}
