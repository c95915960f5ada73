"""What became of the weights: the merges, and the export with its verification."""

from collections.abc import Mapping
from typing import Any

from pipelines.report.data.collect import Report
from pipelines.report.markdown.advised import advice
from pipelines.report.markdown.blocks import bullets, folded, section, table
from pipelines.report.markdown.facts import facts, notes, settings, shown
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


def exports(report: Report) -> str:
    """What the verification of the export saw, and what was held back."""
    held = [f"{name(ref)}: **held back**" for ref in report["held_back"]]
    rows = [
        [f"{CHECKED} {name(entry['id'])}", prose(str(check["name"])), shown(check["saw"])]
        for entry in report["exports"]
        for check in entry["checks"]
    ]
    checks = table(["verified", "check", "saw"], rows, left=3) if rows else ""
    told = folded("Facts", facts(report["exports"]))
    return section("Export", bullets(held), checks, notes(report["exports"]), told, settings(report["exports"]))


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
