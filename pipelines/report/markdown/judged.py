"""The sections that a reviewer reads first: the verdict in a sentence, and the gates."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.report.asked import OWN_VALUE, asked, bounds
from pipelines.report.data.collect import Report
from pipelines.report.data.unwatched import unwatched
from pipelines.report.markdown.blocks import bullets, folded, section, table
from pipelines.report.numbers import (
    ABSENT,
    BITS,
    NATS,
    count,
    difference,
    distance,
    interval,
    level,
    probability,
    value,
)
from pipelines.report.text import name, prose

_BADGES = {"PASS": "\u2705", "FAIL": "\u274c", "INCONCLUSIVE": "\u26a0\ufe0f"}
_IN_SENTENCE = 4


def verdict(report: Report) -> str:
    """One line: the verdict, what was gained, what became of the rest, how many gates failed, what was held back."""
    if not report["verdict"]:
        return " ".join(["**No verdict**: the recipe has no gates.", *_unwatched(report), *_held(report)])
    word = report["verdict"]["verdict"]
    head = f"**{_BADGES[word]} {word}** {name(report['candidate'])} against the base: "
    return " ".join(
        [head + "; ".join([*_moved(report), _tally(report["gates"])]) + ".", *_unwatched(report), *_held(report)]
    )


def gates(report: Report) -> str:
    """Every gate with its numbers and its sentence; the sentences of those that passed are folded."""
    if not report["gates"]:
        return ""
    levels = {gate["alpha"] for gate in report["gates"]}
    heads = [
        "gate", "rule", "base", "candidate", "difference", level(levels.pop()) if len(levels) == 1 else "CI",
        "p (Holm)", "MDE", "n", "needed", "verdict",
    ]  # fmt: skip
    rows = [_row(gate) for gate in report["gates"]]
    open_ = [_says(gate) for gate in report["gates"] if gate["verdict"] != "PASS"]
    passed = [_says(gate) for gate in report["gates"] if gate["verdict"] == "PASS"]
    seeds = [_seeds(gate) for gate in report["gates"] if gate["over_seeds"]]
    legend = " ".join(_legend(report["gates"]))
    return section(
        "Gates", table(heads, rows, left=2), bullets([*open_, *seeds]), legend, folded("Passed", bullets(passed))
    )


def _moved(report: Report) -> Iterator[str]:
    """The means of the target and the general group where there are such, else the gated scores."""
    suites = dict.fromkeys(gate["suite"] for gate in report["gates"])
    kept = [one for one in report["forgetting"]["models"] if one["model"] == report["candidate"]]
    found = [one for suite in suites for one in kept if one["suite"] == suite]
    groups = [(title, one[key]) for one in found[:1] for title, key in (("target", "gain"), ("general", "general"))]
    if any(parts for _, parts in groups):
        yield from (f"{title} {', '.join(map(_part, parts))}" for title, parts in groups if parts)
        return
    yield from (_gate_in_words(gate) for gate in report["gates"][:_IN_SENTENCE])
    if len(report["gates"]) > _IN_SENTENCE:
        yield f"{len(report['gates']) - _IN_SENTENCE} more below"


def _part(part: Mapping[str, Any]) -> str:
    unit = part["unit"]
    if part["delta"] is None:
        return "not comparable"
    named = f" {unit}" if unit in (BITS, NATS) else ""
    lower = " (lower is better)" if part["lower_is_better"] else ""
    return f"{difference(part['delta'], unit)}{named} {interval(part['low'], part['high'], unit)}{lower}"


def _gate_in_words(gate: Mapping[str, Any]) -> str:
    unit = gate["unit"]
    if gate["rule"] == OWN_VALUE:
        return f"{name(gate['name'])} {value(gate['candidate'], unit)} {bounds(gate)}"
    if gate["delta"] is None:
        return f"{name(gate['name'])} not comparable"
    span = bounds(gate)
    return f"{name(gate['name'])} {difference(gate['delta'], unit)}" + ("" if span == ABSENT else f" {span}")


def _tally(gates: list[Mapping[str, Any]]) -> str:
    verdicts = [gate["verdict"] for gate in gates]
    unclear = verdicts.count("INCONCLUSIVE")
    failed = f"{verdicts.count('FAIL')} of {len(gates)} gates failed"
    return f"{failed}, {unclear} inconclusive" if unclear else failed


def _unwatched(report: Report) -> list[str]:
    """What got worse without a gate to say so."""
    worse = unwatched(report)
    parts = [f"{name(one['name'])} {_part(one)}" for one in worse[:_IN_SENTENCE]]
    more = [f"{len(worse) - _IN_SENTENCE} more"] if len(worse) > _IN_SENTENCE else []
    return [f"Worse, and no gate asks about it: {'; '.join([*parts, *more])}."] if worse else []


def _held(report: Report) -> list[str]:
    held = ", ".join(name(ref) for ref in report["held_back"])
    return [f"Held back: {held}."] if held else []


def _row(gate: Mapping[str, Any]) -> list[str]:
    unit = gate["unit"]
    clusters = f" ({count(gate['clusters'])} clusters)" if gate["clusters"] else ""
    return [
        f"{name(gate['name'])} ({name(gate['suite'])})",
        asked(gate),
        value(gate["base"], unit),
        value(gate["candidate"], unit),
        difference(gate["delta"], unit),
        bounds(gate),
        probability(gate["p_holm"]),
        distance(gate["mde"], unit),
        f"{count(gate['n'])}{clusters}",
        count(gate["needed"]),
        f"**{gate['verdict']}**",
    ]


def _says(gate: Mapping[str, Any]) -> str:
    return f"**{gate['verdict']}** {prose(gate['says'], 1000)}"


def _seeds(gate: Mapping[str, Any]) -> str:
    over, unit = gate["over_seeds"], gate["unit"]
    span = interval(over["low"], over["high"], unit)
    return (
        f"{name(gate['name'])} over {count(over['seeds'])} seeds: {difference(over['delta'], unit)} {span}; between "
        f"seeds it varies by {distance(over['sd_seeds'], unit)} (standard deviation)."
    )


def _legend(gates: list[Mapping[str, Any]]) -> Iterator[str]:
    yield "MDE: the smallest difference that this many documents show four times out of five."
    if any(gate["needed"] for gate in gates):
        yield "Needed: documents that would show what the gate asks about."
    for title, export in {gate["suite"]: gate["through"] for gate in gates if gate["through"]}.items():
        yield f"Suite {name(title)} was measured on {name(export)} and on the base as vLLM serves them."
    if any(gate["rule"] == OWN_VALUE for gate in gates):
        yield "A gate that asks what is reached has the interval of the candidate's own value."
