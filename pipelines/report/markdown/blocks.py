"""The blocks of Markdown that sections are made of."""

import re
from collections.abc import Iterable, Sequence

from pipelines.report.text import html_text


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A table whose first `left` columns are aligned left and the rest right. Cells must be safe already."""
    rules = [":--" if column < left else "--:" for column in range(len(heads))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rules, *rows))


def section(title: str, *blocks: str) -> str:
    """A heading and its blocks; nothing where there are none."""
    return "\n\n".join([f"### {title}", *filled]) if (filled := [block for block in blocks if block]) else ""


def folded(title: str, *blocks: str) -> str:
    """Blocks behind a title, any text, that opens them; nothing where there are none."""
    filled = [block for block in blocks if block]
    return "\n\n".join([f"<details><summary>{html_text(title)}</summary>", *filled, "</details>"]) if filled else ""


def bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def fenced(text: str, language: str) -> str:
    """A block of code that nothing in the text can end: its fence is longer than any run of backticks inside."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"
