"""What was advised on the merges, and the evidence in a table."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.report.markdown.blocks import bullets, folded, table
from pipelines.report.markdown.facts import shown
from pipelines.report.text import name, prose


def advice(entries: Sequence[Mapping[str, Any]]) -> str:
    """A line a merge, and what its models have in common behind a fold."""
    heads = ["advice on", "models", "cosine", "norm ratio", "opposite signs", "overlap"]
    rows = [_pair(entry["id"], pair) for entry in entries for pair in _evidence(entry).get("pairs", ())]
    return "\n\n".join(
        block
        for block in (bullets(map(_line, entries)), folded("Evidence", table(heads, rows, 2)) if rows else "")
        if block
    )


def _line(entry: Mapping[str, Any]) -> str:
    told = entry["facts"]["advice"]
    says = prose(_sentence(told["says"]), 1000)
    return f"Advice on {name(_of(entry['id']))}: **{told['verdict']}**. {says} ({prose(told['source'])})"


def _pair(ref: str, pair: Mapping[str, Any]) -> list[str]:
    numbers = (pair[number] for number in ("cosine", "ratio", "conflict", "overlap"))
    return [name(_of(ref)), " - ".join(map(name, pair["models"])), *map(shown, numbers)]


def _evidence(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    return entry["facts"]["evidence"] or {}


def _of(ref: str) -> str:
    return ref.partition(".")[2]


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
