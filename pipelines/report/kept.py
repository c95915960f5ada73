"""What was learned and what was kept: group means by model, replay, the choice among models, single answers."""

from collections.abc import Mapping
from typing import Any

from pipelines.report.blocks import bullets, folded, section, table
from pipelines.report.collect import Report
from pipelines.report.measures import BASE, common_unit
from pipelines.report.numbers import SHARE, count, difference, percent, plain, value
from pipelines.report.scored import direction
from pipelines.report.text import code, name


def learned_and_kept(report: Report) -> str:
    """Skill gained against ability kept, for every measured model; and the replay that was to keep it."""
    tables = [_groups(title, suite) for title, suite in report["suites"].items() if len(suite["models"]) > 1]
    return section("Learned and kept", *tables, _replay(report))


def selection(report: Report) -> str:
    """Which model was picked from which, by what rule."""
    return section("Selection", *(_choice(report, entry) for entry in report["selections"]))


def answers(report: Report, examples: int) -> str:
    """How many documents turned from right to wrong and back, and at most `examples` of either behind a fold."""
    if not report["flips"]:
        return ""
    heads = ["documents that changed", "suite", "n", "worse", "better"]
    rows = [
        [name(flip["name"]), name(flip["suite"]), *(count(flip[key]) for key in ("n", "worse", "better"))]
        for flip in report["flips"]
    ]
    shown = [_fold(report, flip, kind, examples) for flip in report["flips"] for kind in ("worst", "best")]
    return section("Answers", table(heads, rows, left=2), *shown)


def _groups(title: str, suite: Mapping[str, Any]) -> str:
    """Means of the groups: absolute for the base, differences to it for the others."""
    groups = suite["groups"]
    if not groups or BASE not in suite["models"]:
        return ""
    heads = [_group_head(group) for group in groups]
    rows = [[name(BASE), *(value(group["means"][BASE], group["unit"]) for group in groups)]]
    for model in suite["models"]:
        if model != BASE:
            deltas = [difference(group["means"][model] - group["means"][BASE], group["unit"]) for group in groups]
            rows.append([name(model), *deltas])
    return table([f"suite {name(title)}", *heads], rows)


def _group_head(group: Mapping[str, Any]) -> str:
    unit = "" if group["unit"] in (SHARE, "number") else f", {group['unit']}"
    mean = f", mean of {group['scores']}" if group["scores"] > 1 else ""
    return f"{name(group['group'])}{unit}{mean}{direction(group)}"


def _replay(report: Report) -> str:
    replays = [(entry["id"], entry["facts"]["replay"]) for entry in report["training"] if _replays(entry["facts"])]
    rows = [[name(ref), percent(replay["wanted"]), percent(replay["achieved"])] for ref, replay in replays]
    return table(["replay, share of the loss tokens", "wanted", "achieved"], rows) if rows else ""


def _replays(facts: Mapping[str, Any]) -> bool:
    return bool(facts.get("replay") and facts["replay"]["wanted"])


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


def _fold(report: Report, flip: Mapping[str, Any], kind: str, examples: int) -> str:
    found = flip[kind][:examples]
    if not found:
        return ""
    words = {"worst": ("right -> wrong", "worse"), "best": ("wrong -> right", "better")}[kind]
    total = flip["worse" if kind == "worst" else "better"]
    title = f"{flip['name']}, suite {flip['suite']}: {words[0 if flip['binary'] else 1]}, {len(found)} of {total}"
    return folded(title, *(_example(report, flip, example) for example in found))


def _example(report: Report, flip: Mapping[str, Any], example: Mapping[str, Any]) -> str:
    scored = {} if flip["binary"] else {key: f" (score {plain(number)})" for key, number in example["scores"].items()}
    lines = [f"prompt: {code(example['prompt'])}"]
    if example["target"]:
        lines.append(f"wanted: {code(example['target'], 300)}")
    for key, model in ((BASE, BASE), ("candidate", report["candidate"])):
        lines.append(f"{name(model)}{scored.get(key, '')}: {code(example['answers'][key], 300)}")
    return f"{code(example['id'], 60)}\n\n{bullets(lines)}"
