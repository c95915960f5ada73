"""The blocks of Markdown that sections are made of."""

import html
from collections.abc import Iterable, Sequence


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A table whose first `left` columns are aligned left and the rest right. Cells must be safe already."""
    rules = [":--" if column < left else "--:" for column in range(len(heads))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rules, *rows))


def section(title: str, *blocks: str) -> str:
    """A heading and its blocks; nothing where there are none."""
    return "\n\n".join([f"### {title}", *filled]) if (filled := [block for block in blocks if block]) else ""


def folded(title: str, *blocks: str) -> str:
    """Blocks behind a title, plain text, that opens them; nothing where there are none."""
    filled = [block for block in blocks if block]
    return (
        "\n\n".join([f"<details><summary>{html.escape(title, quote=False)}</summary>", *filled, "</details>"])
        if filled
        else ""
    )


def bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
