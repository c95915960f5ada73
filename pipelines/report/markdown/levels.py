"""An export's formats in fewer bits, side by side: what each takes, how far it is from the weights, what it lost."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.report.data.collect import Report
from pipelines.report.data.measures import common_unit
from pipelines.report.markdown.blocks import table
from pipelines.report.numbers import ABSENT, NATS, SHARE, difference, plain, size, unit_of, value
from pipelines.report.text import name, prose

HEADS = ("size", "bits/weight", "memory", "tokens/s", "KL", "agreement")
"""Columns that every level has; its scores and drops follow."""

Entry = Mapping[str, Any]


def quantisation(report: Report, entry: Entry) -> str:
    """What was picked, and the table that it was picked from."""
    scores, groups = scores_of(entry), groups_of(entry)
    heads = [
        f"{name(entry['id'])}: format",
        *HEADS,
        *map(name, scores),
        *(f"drop of {name(group)}" for group in groups),
    ]
    heads += ["admissible"] if entry["rule"] else []
    rows = [
        [_bold(name(label(row)), row["id"] == entry["picked"]), *cells(report, entry, row), *_outcome(entry, row)]
        for row in entry["rows"]
    ]
    said = [_picked(entry)] if entry["rule"] else []
    return "\n\n".join([*said, table(heads, rows)])


def label(row: Entry) -> str:
    return row["level"] or "not quantised"


def scores_of(entry: Entry) -> list[str]:
    """The scores of a choice, in the order of the suite; nothing where none was made."""
    return list(dict.fromkeys(score for row in entry["rows"] for score in row["scores"]))


def groups_of(entry: Entry) -> list[str]:
    return list(dict.fromkeys(group for row in entry["rows"] for group in row["drops"]))


def cells(report: Report, entry: Entry, row: Entry) -> list[str]:
    """The numbers of a row: those of HEADS, a score each, a drop each."""
    ran: Entry = next((one for one in report["resources"]["served"] if one["id"] == row["id"]), {})
    return [
        size(row["bytes"]),
        plain(row["bits_per_weight"]),
        size(ran.get("memory_bytes")),
        plain(ran.get("tokens_per_second")),
        value(row["kl"], NATS),
        value(row["agreement"], SHARE),
        *_measured(report, entry, row),
    ]


def _measured(report: Report, entry: Entry, row: Entry) -> Iterator[str]:
    for score in scores_of(entry):
        known = [other["scores"][score] for other in entry["rows"] if other["scores"].get(score) is not None]
        yield value(row["scores"].get(score), unit_of(score.rpartition("/")[2], known))
    for group in groups_of(entry):
        unit = common_unit(report["suites"], lambda one, group=group: one["group"] == group)  # type: ignore[misc]
        yield difference(row["drops"].get(group), unit)


def _outcome(entry: Entry, row: Entry) -> list[str]:
    """Whether a level may be picked, or why not; nothing where none is."""
    if not entry["rule"]:
        return []
    return [ABSENT if row["admissible"] is None else "yes" if row["admissible"] else prose(row["why"])]


def _picked(entry: Entry) -> str:
    picked = next((row for row in entry["rows"] if row["id"] == entry["picked"]), None)
    return f"Picked {name(label(picked)) if picked else ABSENT} by the rule: {prose(entry['rule'])}."


def _bold(text: str, is_picked: bool) -> str:
    return f"**{text}**" if is_picked else text
