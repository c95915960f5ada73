"""The text of a recipe of one merge, with what is worth knowing in its comments."""

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

MERGED = "merged"
"""Name of the merge."""
_WIDE = 100


def recipe_text(where: str, path: str, base: dict[str, str], fields: dict[str, Any], notes: tuple[str, ...]) -> str:
    """The recipe at `path` that merges as `fields` say, translated from the file `where`."""
    hub = "hub" in json.dumps([base, fields["models"]])
    comments = [f"Translated from {where}, a file of mergekit.", f"  burnish validate {path}"]
    comments += [f"  burnish lock {path}     pin what the hub has now"] if hub else []
    comments += [f"  burnish run {path}", *(["What to know:"] if notes else [])]
    lines = [f"# {comment}" for comment in comments]
    for note in notes:
        lines += textwrap.wrap(note, 110, initial_indent="# - ", subsequent_indent="#   ", break_on_hyphens=False)
    name = re.sub(r"[^A-Za-z0-9_-]", "-", re.sub(r".*/|\.[^.]*$", "", path))
    lines += ["burnish: 1", f"name: {_flow(name)}", "", f"base: {_flow(base)}", "", "merge:", f"  {MERGED}:"]
    lines += _block(fields, "    ")
    lines += ["", "export:", f"  ship: {{model: {MERGED}, formats: [safetensors]}}", ""]
    return "\n".join(lines)


def _block(fields: Mapping[str, Any], indent: str) -> Iterator[str]:
    """A mapping with an entry a line; what is too long for a line, and every list of mappings, goes below its key."""
    for key, value in fields.items():
        flow = f"{indent}{_flow(key)}: {_flow(value)}"
        listed = isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)
        if listed:
            yield f"{indent}{_flow(key)}:"
            yield from (f"{indent}  - {_flow(one)}" for one in value)
        elif isinstance(value, Mapping) and len(flow) > _WIDE:
            yield f"{indent}{_flow(key)}:"
            yield from _block(value, indent + "  ")
        else:
            yield flow


def _flow(value: Any) -> str:
    """A value on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=float("inf"), allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
