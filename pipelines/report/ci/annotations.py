"""The gates that a reviewer must see as workflow commands of GitHub, which shows them beside the change."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.report.ci.outcomes import blind, outcome, title
from pipelines.report.data.collect import Report
from pipelines.report.data.unwatched import unwatched
from pipelines.report.numbers import difference
from pipelines.report.text import clean

MOST = 10
"""Annotations of one type that GitHub shows of a step; the rest it drops without a word."""
_LONGEST = 1000


def annotations(report: Report) -> str:
    """A line a gate: an error where it stops the change, a warning where it cannot say, a notice where it was blind.

    And a warning for what got worse without a gate. Nothing where every gate passed and could see, and nothing else
    got worse. Of more than ten of a type the last line counts the rest.
    """
    gates = report["gates"]
    by_kind = {
        "error": [gate for gate in gates if outcome(report, gate) == "failed"],
        "warning": [gate for gate in gates if outcome(report, gate) == "unclear"],
        "notice": [gate for gate in gates if outcome(report, gate) == "passed" and blind(gate)],
    }
    lines = [line for kind, found in by_kind.items() for line in _lines(kind, found)]
    return "".join(f"{line}\n" for line in [*lines, *_ungated(report)])


def command(kind: str, about: str, message: str) -> str:
    """One workflow command; `about` and `message` may hold anything."""
    head = _escaped(clean(about, _LONGEST)).replace(":", "%3A").replace(",", "%2C")
    return f"::{kind} title={head}::{_escaped(clean(message, _LONGEST))}"


def _lines(kind: str, gates: Sequence[Mapping[str, Any]]) -> list[str]:
    shown = gates if len(gates) <= MOST else gates[: MOST - 1]
    lines = [_line(kind, gate) for gate in shown]
    if rest := len(gates) - len(shown):
        lines.append(command(kind, f"{rest} more gates", "They are in the report."))
    return lines


def _ungated(report: Report) -> list[str]:
    """One line for all that got worse and that no gate asks about."""
    worse = [f"{one['name']} {difference(one['delta'], one['unit'])}" for one in unwatched(report)]
    return [command("warning", "Worse, and no gate asks about it", ", ".join(worse))] if worse else []


def _line(kind: str, gate: Mapping[str, Any]) -> str:
    about = f"{gate['verdict']} {title(gate)} (suite {gate['suite']})"
    if kind != "notice":
        return command(kind, about, gate["says"])
    luck = f"Four times out of five only about {gate['needed']} documents show that; there are {gate['n']}."
    return command(kind, about, f"{gate['says']} {luck}")


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
