"""A comparison of runs as Markdown: verdicts, gates, scores, resources, and what of recipe and data is not the same."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines.report.asked import asked, bounds
from pipelines.report.compare.chain_page import generations
from pipelines.report.compare.compare import Comparison
from pipelines.report.markdown.blocks import bullets, section, table
from pipelines.report.markdown.facts import shown
from pipelines.report.numbers import ABSENT, difference, interval, value
from pipelines.report.text import name, prose

_SAME = "Nothing differs."


def page(comparison: Comparison) -> str:
    """The page; every difference is that of a run to the run before it."""
    runs = [name(run["name"]) for run in comparison["runs"]]
    blocks = [
        f"## Burnish: {len(runs)} runs compared",
        _verdicts(comparison, runs),
        _gates(comparison, runs),
        generations(comparison["chain"], runs) if comparison["chain"] else "",
        _scores(comparison, runs),
        _resources(comparison, runs),
        section("Settings that differ", _differing(comparison["settings"], runs)),
        section("Data that differs", _differing(comparison["data"], runs)),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _verdicts(comparison: Comparison, runs: Sequence[str]) -> str:
    told = comparison["runs"]
    rows = [
        ["verdict", *(f"**{run['verdict'] or 'none'}**" for run in told)],
        ["recipe", *(name(run["recipe"]) for run in told)],
        ["candidate", *(name(run["candidate"]) if run["candidate"] else ABSENT for run in told)],
        ["base", *(f"`{run['base'][:12]}`" if run["base"] else ABSENT for run in told)],
        ["held back", *(", ".join(map(name, run["held_back"])) or ABSENT for run in told)],
    ]
    return table(["", *runs], rows, left=len(runs) + 1)


def _gates(comparison: Comparison, runs: Sequence[str]) -> str:
    if not comparison["gates"]:
        return section("Gates", "None of the runs has gates.")
    rows = [
        [f"{name(gate['name'])} ({name(gate['suite'])}), {name(gate['rule'])}", *map(_judged, gate["runs"])]
        for gate in comparison["gates"]
    ]
    return section("Gates", table(["gate", *runs], rows, left=len(runs) + 1))


def _judged(gate: Mapping[str, Any] | None) -> str:
    if gate is None:
        return ABSENT
    told = (
        difference(gate["delta"], gate["unit"]) if gate["delta"] is not None else value(gate["candidate"], gate["unit"])
    )
    span = bounds(gate)
    return f"**{gate['verdict']}** {told}{'' if span == ABSENT else f' {span}'}, asked: {asked(gate)}"


def _scores(comparison: Comparison, runs: Sequence[str]) -> str:
    heads = ["score", "suite", "model", runs[0], *(head for run in runs[1:] for head in (run, "difference, 95 % CI"))]
    rows = [_score(row) for row in comparison["scores"]]
    told = table(heads, rows, left=3) if rows else "No run measured anything."
    return section("Scores", told, bullets(_remarks(comparison, runs)))


def _score(row: Mapping[str, Any]) -> list[str]:
    lower = " \u2193" if row["lower_is_better"] else ""
    cells = [name(row["name"]) + lower, name(row["suite"]), row["role"], value(row["values"][0], row["unit"])]
    for number, change in zip(row["values"][1:], row["changes"][1:], strict=True):
        cells += [value(number, row["unit"]), _change(change, row["unit"])]
    return cells


def _change(change: Mapping[str, Any] | None, unit: str) -> str:
    if change is None:
        return ABSENT
    if "differs" in change:
        return "not comparable"
    span = interval(change["low"], change["high"], unit)
    return difference(change["delta"], unit) + ("" if span == ABSENT else f" {span}")


def _remarks(comparison: Comparison, runs: Sequence[str]) -> Iterator[str]:
    """Why scores may not be compared, and why a difference has no interval; each reason once a run."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in comparison["scores"]:
        for run, change in zip(runs, row["changes"], strict=True):
            if change and (reason := _reason(change)):
                reasons.setdefault((run, reason), []).append(f"{name(row['name'])} ({row['role']})")
    for (run, reason), scores in reasons.items():
        yield f"{run}: {reason}: {', '.join(scores)}."
    if any(row["lower_is_better"] for row in comparison["scores"]):
        yield "\u2193 lower is better."


def _reason(change: Mapping[str, Any]) -> str:
    if "differs" in change:
        return f"not comparable with the run before, {prose(change['differs'])}"
    return f"no interval, {change['why']}" if change.get("why") else ""


def _resources(comparison: Comparison, runs: Sequence[str]) -> str:
    told = comparison["resources"]
    rows = [
        ["time of all stages", *(f"{one['total_seconds']:,.0f} s" for one in told)],
        ["most memory of a stage", *(f"{one['peak_bytes'] / 1e9:.2f} GB" for one in told)],
        ["disk", *(f"{one['bytes'] / 1e9:.2f} GB" for one in told)],
        ["cost", *(_cost(one["cost"]) for one in told)],
    ]
    legend = "A stage that was found ready counts with what making it took then."
    return section("Resources", table(["", *runs], rows), legend)


def _cost(cost: Mapping[str, Any] | None) -> str:
    return f"{cost['amount']:.2f} {prose(cost['currency'])}" if cost else ABSENT


def _differing(rows: Sequence[Mapping[str, Any]], runs: Sequence[str]) -> str:
    if not rows:
        return _SAME
    cells = [[name(row["id"]), name(row["key"]), *(shown(item) for item in row["runs"])] for row in rows]
    return table(["", "", *runs], cells, left=len(runs) + 2)
