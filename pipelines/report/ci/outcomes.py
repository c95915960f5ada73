"""What the verdict of a gate means to a machine: whether it stops a change, what it is called, whether it was blind."""

from collections.abc import Mapping
from typing import Any, Literal

from pipelines.report.asked import asked
from pipelines.report.data.collect import Report

Outcome = Literal["failed", "unclear", "passed"]


def outcome(report: Report, gate: Mapping[str, Any]) -> Outcome:
    """`failed` stops the change, `unclear` does not. An inconclusive gate fails where the recipe says that it must.

    The verdict says whether it blocks, not which gate did: where none failed, it was an inconclusive one.
    """
    if gate["verdict"] == "PASS":
        return "passed"
    proven = any(other["verdict"] == "FAIL" for other in report["gates"])
    strict = report["verdict"]["blocks"] and not proven
    return "failed" if gate["verdict"] == "FAIL" or strict else "unclear"


def blind(gate: Mapping[str, Any]) -> bool:
    """Whether its documents could not have shown what it asks about."""
    return gate["needed"] is not None


def title(gate: Mapping[str, Any]) -> str:
    """What is asked, as plain text: tickets/exact_match improve by 5.0 pp."""
    return f"{gate['name']} {asked(gate)}"
