"""What became of the weights: the merges, and the export with its verification."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.errors import Problem
from pipelines.report.data.collect import Report
from pipelines.report.markdown.advised import advice
from pipelines.report.markdown.blocks import bullets, folded, section, table
from pipelines.report.markdown.facts import facts, notes, settings, shown
from pipelines.report.markdown.levels import quantisation
from pipelines.report.numbers import ABSENT, count, size
from pipelines.report.text import name, prose

CHECKED = "\u2713"


def merges(report: Report) -> str:
    """A line a merge: its method and models, and how many tensors it changed; what was advised, where it was."""
    advised = advice(report["advice"])
    if not report["merges"]:
        return section("Merges", advised)
    heads = ["merge", "method", "models", "size", "tensors changed"]
    rows = [_merge(entry) for entry in report["merges"]]
    legend = "Size: the norm of the model's difference to the base over the norm of the base."
    return section(
        "Merges", table(heads, rows, left=3), legend, notes(report["merges"]), advised, settings(report["merges"])
    )


def exports(report: Report, rest: bool = True) -> str:
    """The folders that are shipped, what their verification warned of, and what was held back; then what it saw."""
    made = report["exports"]
    held = [f"{name(ref)}: **held back**" for ref in report["held_back"]]
    levels = [quantisation(report, entry) for entry in report["quantisations"]]
    blocks = [bullets(held), _folders(made), *levels, _adapters(made), _warnings(made), notes(made)]
    blocks += [_checks(made), folded("Facts", facts(made)), settings(made)] if rest else []
    return section("Export", *blocks)


def _checks(entries: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [f"{CHECKED} {name(entry['id'])}", prose(str(check["name"])), shown(check["saw"])]
        for entry in entries
        for check in entry["checks"]
    ]
    return table(["verified", "check", "saw"], rows, left=3) if rows else ""


def _folders(entries: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [
            name(entry["id"]),
            name(entry["facts"]["folder"]),
            size(entry["facts"].get("bytes")),
            *(count(len(entry[key])) if entry["checks"] else ABSENT for key in ("checks", "warnings")),
        ]
        for entry in entries
        if "folder" in entry["facts"]
    ]
    return table(["export", "folder", "size", "checks", "warnings"], rows, left=2) if rows else ""


def _adapters(entries: Sequence[Mapping[str, Any]]) -> str:
    """The adapters that are shipped beside merged weights, or why one that was asked for is not."""
    told = [(entry["id"], entry["facts"]["adapter"]) for entry in entries if entry["facts"].get("adapter")]
    return bullets(f"{name(ref)}: {prose(adapter_in_words(adapter))}" for ref, adapter in told)


def adapter_in_words(adapter: Mapping[str, Any]) -> str:
    """What became of an adapter that was asked for."""
    if adapter["shipped"]:
        return "the adapter is shipped too, in adapter/."
    return f"the adapter is not shipped by itself: {'; '.join(adapter['why'])}."


def warning_in_words(warning: Mapping[str, Any]) -> str:
    """One line, as a problem is told."""
    return f"{warning['rule']}: {Problem(warning['where'], warning['what'], warning['got'], warning['fix'])}"


def _warnings(entries: Sequence[Mapping[str, Any]]) -> str:
    told = [(entry["id"], warning) for entry in entries for warning in entry["warnings"]]
    return bullets(f"{name(ref)}: \u26a0\ufe0f {prose(warning_in_words(warning), 600)}" for ref, warning in told)


def _merge(entry: Mapping[str, Any]) -> list[str]:
    told = entry["facts"]
    members = [_member(member) for member in told.get("models", ())]
    changed = f"{shown(told.get('changed'))} of {shown(told.get('tensors'))}"
    size = shown(told.get("delta_norm_ratio"))
    return [name(entry["id"]), shown(told.get("method")), "; ".join(members), size, changed]


def _member(member: Mapping[str, Any]) -> str:
    size = shown(member.get("delta_norm_ratio"))
    return f"{name(member['name'])} weight {_weight(member.get('weight'))}, size {size}"


def _weight(weight: Any) -> str:
    """A weight or a schedule of weights; the patterns of one stand among the settings."""
    if isinstance(weight, Mapping):
        return "by pattern"
    return f"{shown(weight)} over the layers" if isinstance(weight, list) else shown(weight)
