"""Facts and settings of any artifact, whatever its stage chose to tell."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pipelines.report.data.measures import flatten
from pipelines.report.markdown.blocks import bullets, folded, table
from pipelines.report.numbers import ABSENT, count, plain
from pipelines.report.text import code, name, prose

_DIGEST = re.compile(r"[0-9a-f]{40,64}")
_LONGEST_LIST = 6


def shown(value: Any) -> str:
    """Any fact as the content of a cell; of a digest the beginning."""
    if value is None:
        return ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return count(value)
    if isinstance(value, float):
        return plain(value)
    if isinstance(value, list):
        items = [shown(item) for item in value[:_LONGEST_LIST]]
        return ", ".join(items) + (f", ... ({len(value)})" if len(value) > _LONGEST_LIST else "")
    return f"`{value[:12]}`" if _DIGEST.fullmatch(str(value)) else prose(str(value), 160)


def facts(entries: Iterable[Mapping[str, Any]]) -> str:
    """Everything but the notes that the stages of the entries told."""
    told = [(entry["id"], key, item) for entry in entries for key, item in flatten(entry["facts"]) if key != "notes"]
    rows = [[name(ref), name(key), shown(item)] for ref, key, item in told]
    return table(["made", "fact", "value"], rows, left=3) if rows else ""


def notes(entries: Iterable[Mapping[str, Any]]) -> str:
    """What the stages of the entries found worth saying."""
    told = [(entry["id"], note) for entry in entries for note in entry["facts"].get("notes", ())]
    return bullets(f"{name(ref)}: {prose(str(note))}" for ref, note in told)


def settings(entries: Iterable[Mapping[str, Any]]) -> str:
    """The settings of the entries, behind a fold."""
    told = [(entry["id"], dict(flatten(entry["settings"]))) for entry in entries if entry["settings"]]
    lines = [
        f"{name(ref)}: {code(' '.join(f'{key}={item}' for key, item in found.items()), 1000)}" for ref, found in told
    ]
    return folded("Settings that are not the defaults", bullets(lines))
