"""What a gate asks and what it saw, in the words and numbers that every form of the report has in common."""

from collections.abc import Mapping
from typing import Any

from pipelines.report.numbers import distance, interval, span, value

OWN_VALUE = "at_least"
"""The rule that asks about the candidate's own value, not about its difference to the base."""
WORDS = {"improve": "improve by", "no_regression": "lose at most", OWN_VALUE: "reach", "drift": "drift at most"}

Gate = Mapping[str, Any]


def asked(gate: Gate) -> str:
    """improve by 5.0 pp"""
    return f"{WORDS[gate['rule']]} {limit(gate)}"


def limit(gate: Gate) -> str:
    """The threshold in the unit of the gate's score."""
    return (value if gate["rule"] == OWN_VALUE else distance)(gate["threshold"], gate["unit"])


def bounds(gate: Gate) -> str:
    """The interval: of the difference, or of the candidate's own value where the gate asks about that."""
    return (span if gate["rule"] == OWN_VALUE else interval)(gate["low"], gate["high"], gate["unit"])
