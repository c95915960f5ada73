"""Documents of plain text, from files: a paragraph each in text, a line each in JSONL with a `text` key."""

import json
from pathlib import Path

from pipelines.errors import wrong


def read_documents(path: Path) -> list[str]:
    """The documents of a file. Raises UserError for one that is missing, not UTF-8, or broken in a line."""
    try:
        content = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise wrong(str(path), "no such file", fix="Name an existing text or JSONL file") from None
    except UnicodeDecodeError as error:
        raise wrong(str(path), "is not UTF-8", f"byte {error.start}", "Convert the file to UTF-8") from None
    if path.suffix == ".jsonl":
        return [_line(path, number, line) for number, line in enumerate(content.split("\n"), 1) if line.strip()]
    return [part for part in content.split("\n\n") if part.strip()]


def _line(path: Path, number: int, line: str) -> str:
    try:
        text = json.loads(line)["text"]
    except (ValueError, KeyError, TypeError) as error:
        raise wrong(f"{path}:{number}", "not a JSON object with a text", repr(error), "Give every line one") from None
    if not isinstance(text, str):
        raise wrong(f"{path}:{number}", "text is not a string", type(text).__name__, "Give every line a string")
    return text
