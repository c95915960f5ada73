"""What a folder's JSON files say, read so that a broken one is a finding and never an exception."""

import json
from pathlib import Path
from typing import Any

from pipelines.serving.findings import Finding


def opened(path: Path) -> dict[str, Any]:
    """A JSON object; empty where the file is missing or is none, which `unreadable` tells."""
    try:
        return mapping(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError):
        return {}


def unreadable(path: Path, rule: str, fix: str) -> list[Finding]:
    """The finding for a file that is there but holds no JSON object."""
    if not path.is_file():
        return []
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        return [Finding(rule, "E", str(path), "cannot be read as JSON", str(error), fix)]
    if isinstance(value, dict):
        return []
    return [Finding(rule, "E", str(path), "is not a JSON object", type(value).__name__, fix)]


def mapping(value: object) -> dict[str, Any]:
    """The value where it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def listing(value: object) -> list[Any]:
    """The value where it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def number(value: object) -> float | None:
    """The value where it is a number: true and false are none."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def whole(value: object) -> int | None:
    """The value where it is a whole number."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def ids(value: object) -> list[int]:
    """Token ids as a list: configs hold one number, a list, or nothing."""
    numbers = [whole(item) for item in (value if isinstance(value, list) else [value])]
    return [item for item in numbers if item is not None]


def says_path(name: object) -> bool:
    """Whether a name is a place on somebody's disk and not a model's name."""
    return isinstance(name, str) and (name.startswith(("/", "~", "./", "../")) or name[1:3] in (":\\", ":/"))
