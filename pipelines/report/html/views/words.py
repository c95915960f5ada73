"""Texts and settings as the page writes them."""

from typing import Any

BREAK = " \u23ce "


def lines(text: str) -> str:
    """A text with its line breaks, which the report's data holds as signs."""
    return text.replace(BREAK, "\n").replace(BREAK.strip(), "\n").strip()


def settings(found: Any, path: str = "") -> list[tuple[str, str]]:
    """The leaves of nested settings by dotted path."""
    items = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ()
    if not items or (isinstance(found, list) and not any(isinstance(item, (dict, list)) for item in found)):
        return [(path, ", ".join(map(str, found)) if isinstance(found, list) else str(found))] if path else []
    return [leaf for key, item in items for leaf in settings(item, f"{path}.{key}" if path else str(key))]
