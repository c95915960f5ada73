"""What pydantic found wrong, in plain words that name the line, the key and what would be right."""

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipelines.errors import Problem
from pipelines.recipe.shape import Path, child, classes, fields_of, kinds, variant
from pipelines.recipe.yaml_file import Item, Origin, shown

_WANTS = {
    "number": "a number",
    "gradient": "a list",
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "dict": "a mapping",
    "model": "a mapping",
    "tuple": "a list",
    "list": "a list",
}
_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}
_MALFORMED = ("_type", "_parsing", "_from_float", "_attributes_type")


def dotted(path: Path) -> str:
    """A path as messages and `--set` write it."""
    return ".".join(str(part) for part in path)


def at(origin: Origin, path: Path, what: str, got: str = "", fix: str = "") -> Problem:
    """A problem with the value at `path`, written at `origin`."""
    where = f"{origin}: {dotted(path)}" if path else str(origin)
    return Problem(where, what, got, fix)


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Each problem once, by file and line."""
    return sorted(dict.fromkeys(problems), key=_line)


def _line(problem: Problem) -> tuple[str, int]:
    file, line = re.match(r"(.*?)(?::(\d+))?(?:: |$)", problem.where).groups()  # type: ignore[union-attr]
    return file, int(line or 0)


def closest(word: str, words: Iterable[str]) -> str:
    """Did you mean …? Nothing where no word is near."""
    near = difflib.get_close_matches(word, list(words), n=1)
    return f"Did you mean '{near[0]}'?" if near else ""


def translate(error: ValidationError, config: type[BaseModel], item: Item, path: Path) -> Iterator[Problem]:
    """The problems of one value: `item` was to become a `config`, and stands at `path` of the recipe."""
    by_place: dict[Path, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        if _is_long_enough(detail):
            continue
        by_place.setdefault(_place(item, detail), []).append(detail)
    for place, details in by_place.items():
        yield _problem(config, item, path, place, details)


def _is_long_enough(detail: ErrorDetails) -> bool:
    """Whether a list is only said to be too short because some of its entries are wrong."""
    return detail["type"] == "too_short" and len(detail["input"]) >= detail["ctx"]["min_length"]


def _place(item: Item, detail: ErrorDetails) -> Path:
    """The part of pydantic's location that the recipe has too: its names of union members are left out."""
    place: list[str | int] = []
    for part in detail["loc"]:
        inside = item.value
        known = part in inside if isinstance(inside, dict) else isinstance(inside, list) and isinstance(part, int)
        if known:
            place.append(part)
            item = inside[part]
    if detail["type"] == "missing":
        place.append(detail["loc"][-1])
    return tuple(place)


def _problem(config: type[BaseModel], item: Item, path: Path, place: Path, details: list[ErrorDetails]) -> Problem:
    annotation, holder = _walk(config, item, place[:-1])
    key = place[-1] if place else ""
    value = holder.value[key] if place and _has(holder, key) else holder
    full = (*path, *place)
    kind, context = details[0]["type"], details[0].get("ctx", {})
    if kind == "extra_forbidden":
        known = variant(annotation, holder)
        names = list(fields_of(known)) if known else []
        fix = closest(str(key), names) or f"Known keys: {', '.join(names)}"
        return at(value.origin, full, "unknown key", "", fix)
    if kind == "missing":
        return at(holder.origin, full, "is missing", "", _about(annotation, holder, key))
    inner = annotation if not place else child(annotation, holder, key)[0]
    if kind.startswith("union_tag") and classes(inner, BaseModel):
        return _unknown_kind(inner, value, full)
    if kind == "value_error":
        return at(value.origin, full, str(context["error"]))
    if kind == "too_short" and context["min_length"] > 1:
        what = f"must have at least {context['min_length']} entries"
        return at(value.origin, full, what, str(context["actual_length"]))
    if kind in ("too_short", "string_too_short"):
        return at(value.origin, full, "must not be empty")
    return at(value.origin, full, _wanted(details), shown(value), _near_choice(details, value))


def _has(holder: Item, key: str | int) -> bool:
    return key in holder.value if isinstance(holder.value, dict) else isinstance(holder.value, list)


def _walk(annotation: Any, item: Item, place: Path) -> tuple[Any, Item]:
    for key in place:
        annotation, item = child(annotation, item, key)[0], item.value[key]
    return annotation, item


def _about(annotation: Any, holder: Item, key: Any) -> str:
    _, field = child(annotation, holder, key)
    return field.description or "" if field else ""


def _unknown_kind(annotation: Any, value: Item, path: Path) -> Problem:
    names = [name for option in classes(annotation, BaseModel) for name in kinds(option)]
    choice = f"one of {', '.join(names)}"
    if not isinstance(value.value, dict) or "kind" not in value.value:
        return at(value.origin, (*path, "kind"), "is missing", "", f"It is {choice}")
    given = value.value["kind"]
    fix = closest(str(given.value), names)
    return at(given.origin, (*path, "kind"), f"must be {choice}", shown(given), fix)


def _near_choice(details: list[ErrorDetails], value: Item) -> str:
    if details[0]["type"] != "literal_error":
        return ""
    return closest(str(value.value), _choices(details[0]))


def _choices(detail: ErrorDetails) -> list[str]:
    expected: str = detail["ctx"]["expected"]
    return expected.replace("'", "").replace(" or ", ", ").split(", ")


def _wanted(details: list[ErrorDetails]) -> str:
    """What would be right; a value that may be several things has one detail for each."""
    kind, context = details[0]["type"], details[0].get("ctx", {})
    if kind == "literal_error":
        choices = _choices(details[0])
        return f"must be {choices[0]}" if len(choices) == 1 else f"must be one of {', '.join(choices)}"
    if kind in _BOUNDS:
        words, bound = _BOUNDS[kind]
        return f"must be {words} {context[bound]:g}"
    if kind == "string_pattern_mismatch":
        return f"must match {context['pattern']}"
    if kind == "finite_number":
        return "must be a finite number"
    if kind == "union_tag_invalid":
        tags = context["expected_tags"].replace("'", "").split(", ")
        return f"must be {' or '.join(_WANTS.get(tag, tag) for tag in tags)}"
    wants = [_WANTS.get(detail["type"].split("_")[0], "") for detail in details if detail["type"].endswith(_MALFORMED)]
    named = " or ".join(dict.fromkeys(word for word in wants if word))
    return f"must be {named}" if named else details[0]["msg"].lower()
