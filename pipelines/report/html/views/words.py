"""Times, sizes and texts as a page writes them."""

from typing import Any

from pipelines.report.numbers import ABSENT

_SIZES = ("B", "kB", "MB", "GB", "TB")
BREAK = " \u23ce "


def duration(seconds: float | None) -> str:
    """Seconds in the one or two units that matter."""
    if seconds is None:
        return ABSENT
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes < 10 else f"{round(seconds / 60)} min"


def size(number: float | None) -> str:
    """Bytes in decimal units, three digits."""
    if number is None:
        return ABSENT
    for unit in _SIZES:
        if number < 1000 or unit == _SIZES[-1]:
            break
        number /= 1000
    return f"{number:.0f} {unit}" if unit == "B" else f"{number:.3g} {unit}"


def lines(text: str) -> str:
    """A text with its line breaks, which the report's data holds as signs."""
    return text.replace(BREAK, "\n").replace(BREAK.strip(), "\n").strip()


def settings(found: Any, path: str = "") -> list[tuple[str, str]]:
    """The leaves of nested settings by dotted path."""
    items = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ()
    if not items or (isinstance(found, list) and not any(isinstance(item, (dict, list)) for item in found)):
        return [(path, ", ".join(map(str, found)) if isinstance(found, list) else str(found))] if path else []
    return [leaf for key, item in items for leaf in settings(item, f"{path}.{key}" if path else str(key))]
