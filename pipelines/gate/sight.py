"""What documents can see of what a gate asks, and the sentence where they cannot; light, because a plan says it too."""

from pipelines.stats.power import documents_needed

_ASKED = {"improve": "gain", "no_regression": "regression", "drift": "drift"}


def needed(n: int, mde: float, effect: float) -> int | None:
    """How many documents would see `effect`; None where these n do, or where no number would."""
    return documents_needed(n, mde, effect) if mde > effect else None


def cannot_see(rule: str, documents: int) -> str:
    """Of a suite whose detectable effect exceeds the threshold of the gate."""
    return f"this suite cannot see the {_ASKED[rule]} you asked about: n = {documents:,} needed"


def cannot_tell(documents: int) -> str:
    """Of a value that lies too near to its threshold for so few documents."""
    return f"this suite cannot tell: n = {documents:,} needed"
