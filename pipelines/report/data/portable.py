"""Facts without what differs between two runs of one recipe, so that the same inputs give the same bytes."""

import math
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from pipelines.report.text import clean

_VOLATILE = re.compile(r"(^|_)(seconds|per_second|peak_bytes|memory_bytes|path)$|^resumed_from$")
_ABSOLUTE = re.compile(r"(/|[A-Za-z]:\\)\S+")
_LONGEST = 4000


def steady(facts: Any) -> Any:
    """A copy of what a stage returned without times, speeds and places."""
    if isinstance(facts, Mapping):
        return {str(key): steady(item) for key, item in facts.items() if not _VOLATILE.search(str(key))}
    return [steady(item) for item in facts] if isinstance(facts, (list, tuple)) else facts


def portable(value: Any) -> Any:
    """A copy of JSON-like data without NaN, infinity and unprintable text; an absolute path loses its folders."""
    if isinstance(value, Mapping):
        return {str(key): portable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [portable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):
        return PurePath(value).name if len(value) < 1000 and _ABSOLUTE.fullmatch(value) else clean(value, _LONGEST)
    return value
