"""Sources that are written where a name is wanted become entries of their own, named by their content."""

import hashlib
import json
import re
from pathlib import Path as FilePath
from typing import Any, NamedTuple

from pipelines.engine.stage import Ref
from pipelines.recipe.shape import Path, child, classes
from pipelines.recipe.yaml_file import Item, plain

MODEL_KEYS = {"path", "hub", "wheel", "adapter"}
DATA_KEYS = {"files", "hub", "generator"}


class Inline(NamedTuple):
    """An entry without a name: the section it would be in, its mapping and where that is written."""

    section: str
    item: Item
    path: Path


def lift(annotation: Any, item: Item, path: Path, found: dict[str, Inline]) -> Item:
    """The value with a node id in place of every inline source; the sources are added to `found` by that id."""
    if isinstance(item.value, dict) and (wanted := classes(annotation, Ref)):
        return Item(_named(wanted[0], item, path, found), item.origin)
    if isinstance(item.value, dict):
        return Item({key: _below(annotation, item, key, path, found) for key in item.value}, item.origin)
    if isinstance(item.value, list):
        return Item([_below(annotation, item, place, path, found) for place in range(len(item.value))], item.origin)
    return item


def _below(annotation: Any, item: Item, key: Any, path: Path, found: dict[str, Inline]) -> Item:
    inner, _ = child(annotation, item, key)
    return lift(inner, item.value[key], (*path, key), found) if inner else item.value[key]


def _named(wanted: type[Ref], item: Item, path: Path, found: dict[str, Inline]) -> str:
    section = _section(wanted, item)
    if section == "data" and "source" not in item.value:
        path_of_source = Item({"source": item}, item.origin)
        return _add("data", path_of_source, path, found)
    return _add(section, item, path, found)


def _section(wanted: type[Ref], item: Item) -> str:
    """A model's source and a dataset's differ by their keys; `hub` alone means a dataset where both will do."""
    if "dataset" not in wanted.wants:
        return "base"
    if "model" in wanted.wants and item.value.keys() & (MODEL_KEYS - {"hub"}):
        return "base"
    return "data"


def _add(section: str, item: Item, path: Path, found: dict[str, Inline]) -> str:
    written = plain(item)
    text = json.dumps(written, sort_keys=True, ensure_ascii=False, default=str)
    name = f"{section}:{_label(written)}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
    found.setdefault(name, Inline(section, item, path))
    return name


def _label(source: Any) -> str:
    """The last part of the path or name that a source gives, so that reports can be read."""
    inner = source.get("source", source)
    named = next((inner[key] for key in ("path", "adapter", "hub", "files", "generator", "wheel") if key in inner), "")
    return re.sub(r"[^A-Za-z0-9_]+", "-", FilePath(str(named)).stem).strip("-") or "source"
