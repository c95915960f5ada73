"""The top of the page: the verdict in a sentence, the numbers that a reviewer looks for first, and the gates."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pipelines.report.asked import WORDS, bounds, limit
from pipelines.report.data.collect import Report
from pipelines.report.data.measures import BASE
from pipelines.report.html.views.sentences import sentence
from pipelines.report.markdown import judged
from pipelines.report.numbers import ABSENT, NUMBER, SHARE, difference, distance, duration, interval, size, value

_GROUPS = 3
NO_BREAK = "\u00a0"
_NOT_PASSED = {"FAIL": "failed", "INCONCLUSIVE": "inconclusive"}


class Tile(NamedTuple):
    """A number that is read at a glance, what it is, and what stands behind it."""

    number: str
    label: str
    details: list[str]


def verdict(report: Report) -> dict[str, Any]:
    """The badge and the sentence behind it, which is the Markdown report's."""
    word = report["verdict"]["verdict"] if report["verdict"] else "NONE"
    told = judged.verdict(report).removeprefix("**").partition("** ")[2]
    return {"word": word, "says": sentence(told), "tiles": list(_tiles(report))}


def gates(report: Report) -> dict[str, Any] | None:
    if not report["gates"]:
        return None
    levels = {gate["alpha"] for gate in report["gates"]}
    level = f"{100 * (1 - levels.pop()):g} % interval" if len(levels) == 1 else "interval"
    return {"rows": [_gate(gate) for gate in report["gates"]], "level": level}


def _tiles(report: Report) -> Iterator[Tile]:
    if report["gates"]:
        words = [gate["verdict"] for gate in report["gates"]]
        others = [f"{words.count(word)} {said}" for word, said in _NOT_PASSED.items() if word in words]
        yield Tile(f"{words.count('PASS')} of {len(words)}", "gates passed", others or ["none failed"])
    yield from _learned(report)
    binary = [flip for flip in report["flips"] if flip["binary"]]
    if binary:
        worse, better = (sum(flip[key] for flip in binary) for key in ("worse", "better"))
        details = [f"of {sum(flip['n'] for flip in binary):,} answers", f"{better:,} gained"]
        yield Tile(f"{worse:,}", "right answers lost", details)
    resources = report["resources"]
    if resources["rows"]:
        peaks = [row["peak_bytes"] for row in resources["rows"] if row["peak_bytes"]]
        cost = resources["cost"]
        told = [f"{size(max(peaks))} of memory"] if peaks else []
        told += [f"{cost['amount']:.2f} {cost['currency']}"] if cost else []
        yield Tile(duration(resources["total_seconds"]), "to make all of it", told)


def _learned(report: Report) -> Iterator[Tile]:
    """The means of the groups in the first suite that the gates speak of, or else that knows the candidate."""
    model = report["candidate"]
    judged_in = [gate["suite"] for gate in report["gates"]]
    known = [title for title in (*judged_in, *report["suites"]) if title in report["suites"]]
    compared = [report["suites"][title] for title in known if {BASE, model} <= set(report["suites"][title]["models"])]
    for group in compared[0]["groups"][:_GROUPS] if compared and model != BASE else ():
        base, last, unit = group["means"][BASE], group["means"][model], group["unit"]
        seen = group["estimates"].get(model, {})
        span = interval(seen.get("low"), seen.get("high"), unit)
        mean = f", mean of {group['scores']}" if group["scores"] > 1 else ""
        label = f"{group['group']}{mean}" if unit in (SHARE, NUMBER) else f"{group['group']}, {unit}{mean}"
        told = [f"{value(base, unit)} \u2192 {value(last, unit)}"]
        yield Tile(difference(last - base, unit), label, told if span == ABSENT else [span, *told])


def _gate(gate: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **gate,
        "asks": f"{WORDS[gate['rule']]} {limit(gate).replace(' ', NO_BREAK)}",
        "bounds": bounds(gate),
        "detail": list(_behind(gate)),
    }


def _behind(gate: Mapping[str, Any]) -> Iterator[str]:
    """What the numbers of a gate rest on, where there is something to say."""
    if gate["through"]:
        yield f"measured on {gate['through']} and on the base as vLLM serves them"
    if gate["needed"]:
        yield f"needs about {gate['needed']:,} documents"
    if gate["clusters"]:
        yield f"{gate['clusters']:,} clusters"
    if len(gate["scores"]) > 1:
        yield f"mean of {', '.join(gate['scores'])}"
    if seeds := gate["over_seeds"]:
        span = interval(seeds["low"], seeds["high"], gate["unit"])
        spread = distance(seeds["sd_seeds"], gate["unit"])
        delta = difference(seeds["delta"], gate["unit"])
        yield f"over {seeds['seeds']} seeds {delta} {span}, spread of the seeds {spread}"
    if gate["method"]:
        yield str(gate["method"])
