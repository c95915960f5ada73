"""What the candidate was made from: of everything that a recipe made, the part that is in its weights."""

from collections.abc import Sequence

from pipelines.report.data.collect import Report

_WEIGHTS = ("model", "adapter")


def candidate_id(report: Report) -> str:
    """The artifact that is judged: select.best for the candidate best. Empty where there is none."""
    ids = [node["id"] for node in report["lineage"]["nodes"] if node["kind"] in _WEIGHTS]
    named = report["candidate"]
    return next((ref for ref in ids if named and named in (ref, ref.partition(".")[2])), "")


def ancestors(report: Report) -> set[str]:
    """The candidate's artifact and those that it was made from. Of a selection, only what was picked counts."""
    picked = {entry["id"]: entry["facts"]["picked"] for entry in report["selections"]}
    edges: list[Sequence[str]] = report["lineage"]["edges"]
    found: set[str] = set()
    open_ = {candidate_id(report)} - {""}
    while open_:
        ref = open_.pop()
        found.add(ref)
        sources = {source for source, target in edges if target == ref}
        if ref in picked:
            sources = {source for source in sources if picked[ref] in (source, source.partition(".")[2])}
        open_ |= sources - found
    return found


def own_part(report: Report) -> Report:
    """The report without the data, runs and merges that are not in the candidate; whole where there is none."""
    wanted = ancestors(report)
    if not wanted:
        return report
    parts = ("bases", "data", "training", "merges", "selections")
    return report | {part: [entry for entry in report[part] if entry["id"] in wanted] for part in parts}


def relation(part: Report) -> str:
    """What the candidate is to its base, in the words of the Hub; empty for weights that nothing was done to.

    `part` is the candidate's own part of the report.
    """
    kinds = {node["id"]: node["kind"] for node in part["lineage"]["nodes"]}
    if kinds.get(candidate_id(part)) == "adapter" and not part["exports"]:
        return "adapter"
    several = any(len(entry["facts"].get("models", ())) > 1 for entry in part["merges"])
    if not part["merges"] and not part["training"]:
        return ""
    return "finetune" if part["training"] and not several else "merge"
