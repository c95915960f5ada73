"""The sections that a reviewer reads first: the verdict in a sentence, and the gates."""

from collections.abc import Mapping
from typing import Any

from pipelines.report.blocks import bullets, folded, section, table
from pipelines.report.collect import Report
from pipelines.report.numbers import ABSENT, count, difference, distance, interval, probability, value
from pipelines.report.text import name, prose

_BADGES = {"PASS": "\u2705", "FAIL": "\u274c", "INCONCLUSIVE": "\u26a0\ufe0f"}
_IN_SENTENCE = 4


def verdict(report: Report) -> str:
    """One line: the verdict, the candidate, the gated differences with their intervals, and what was held back."""
    if not report["verdict"]:
        return " ".join(["**No verdict**: the recipe has no gates.", *_held(report)])
    word = report["verdict"]["verdict"]
    gates = report["gates"]
    parts = [_gate_in_words(gate) for gate in gates[:_IN_SENTENCE]]
    more = [f"{len(gates) - _IN_SENTENCE} more below"] if len(gates) > _IN_SENTENCE else []
    head = f"**{_BADGES[word]} {word}** {name(report['candidate'])} against the base: "
    return " ".join([head + "; ".join([*parts, *more, _tally(gates)]) + ".", *_held(report)])


def gates(report: Report) -> str:
    """Every gate with its numbers and its sentence; the sentences of those that passed are folded."""
    if not report["gates"]:
        return ""
    levels = {gate.get("alpha") for gate in report["gates"]}
    level = f"{100 * (1 - alpha):g} % CI" if len(levels) == 1 and (alpha := levels.pop()) else "CI"
    heads = ["gate", "rule", "base", "candidate", "difference", level, "p (Holm)", "MDE", "n", "verdict"]
    rows = [_gate_row(gate) for gate in report["gates"]]
    open_ = [f"**{gate['verdict']}** {prose(gate['says'])}" for gate in report["gates"] if gate["verdict"] != "PASS"]
    passed = [f"**PASS** {prose(gate['says'])}" for gate in report["gates"] if gate["verdict"] == "PASS"]
    legend = "MDE: the smallest difference that this many documents show four times out of five."
    return section("Gates", table(heads, rows, left=2), bullets(open_), legend, folded("Passed", bullets(passed)))


def _gate_in_words(gate: Mapping[str, Any]) -> str:
    unit = gate["unit"]
    if gate["delta"] is None:
        return f"{name(gate['name'])} not comparable"
    bounds = interval(gate["low"], gate["high"], unit)
    return f"{name(gate['name'])} {difference(gate['delta'], unit)}" + ("" if bounds == ABSENT else f" {bounds}")


def _tally(gates: list[Mapping[str, Any]]) -> str:
    words = {"PASS": "passed", "FAIL": "failed", "INCONCLUSIVE": "inconclusive"}
    counts = {word: sum(gate["verdict"] == key for gate in gates) for key, word in words.items()}
    said = [f"{number} {word}" for word, number in counts.items() if number and word != "passed"]
    return ", ".join([f"{counts['passed']} of {len(gates)} gates passed", *said])


def _held(report: Report) -> list[str]:
    held = ", ".join(name(ref) for ref in report["held_back"])
    return [f"Held back: {held}."] if held else []


def _gate_row(gate: Mapping[str, Any]) -> list[str]:
    unit = gate["unit"]
    rule = {"improve": "improve by", "no_regression": "lose at most"}.get(gate["rule"], prose(str(gate["rule"])))
    return [
        f"{name(gate['name'])} ({name(gate['suite'])})",
        f"{rule} {distance(gate['threshold'], unit)}",
        value(gate["base"], unit),
        value(gate["candidate"], unit),
        difference(gate["delta"], unit),
        interval(gate["low"], gate["high"], unit),
        probability(gate["p_holm"]),
        distance(gate["mde"], unit),
        count(gate["n"]),
        f"**{gate['verdict']}**",
    ]
