"""Text that others wrote - models, datasets, users - made safe to stand in Markdown on GitHub."""

import html
import re
import unicodedata

_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[@-_]?")
_BREAKS = re.compile(r"\r\n?|[\n\v\f\x85\u2028\u2029]")
_MARKUP = re.compile(r"([\\`*_\[\]~$])")
_LINKS = re.compile(r"(@|#(?=\d)|\bGH-(?=\d)|:(?=//)|\bwww(?=\.))", re.IGNORECASE)
_PLAIN = re.compile(r"[\w./:,=+%()@ -]+", re.ASCII)
_UNSEEN = ("Cc", "Cs")
_DIRECTIONS = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u061c\ufeff")
_BREAK = "\u23ce"


def clean(text: str, limit: int) -> str:
    """One line of at most `limit` characters: no terminal sequences, control characters or changes of direction.

    A line break becomes a visible sign. Of a longer text the beginning and, since questions stand last, more of the
    end is kept.
    """
    if len(text) > 8 * limit:
        text = text[: 4 * limit] + text[-4 * limit :]
    text = _BREAKS.sub(f" {_BREAK} ", _ANSI.sub("", text).strip()).replace("\t", " ")
    text = "".join(sign for sign in text if unicodedata.category(sign) not in _UNSEEN and sign not in _DIRECTIONS)
    return clip(" ".join(text.split()), limit)


def clip(text: str, limit: int) -> str:
    """The text, or its first third and its end with dots between them."""
    if len(text) <= limit:
        return text
    head = limit // 3
    return f"{text[:head]} ... {text[len(text) - (limit - head - 5) :]}"


def code(text: str, limit: int = 400) -> str:
    """A code span that nothing in the text can end: its fence is longer than any run of backticks inside.

    Nothing inside a code span is markup, a mention or a reference. Not for table cells, which split at pipes.
    """
    text = clean(text, limit)
    if not text.strip():
        return "(empty)"
    fence = "`" * (1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    space = " " if text[0] in "` " or text[-1] in "` " else ""
    return f"{fence}{space}{text}{space}{fence}"


def prose(text: str, limit: int = 400) -> str:
    """Plain words, for anywhere but the start of a line: markup, HTML, mentions, references and links are disarmed."""
    text = html.escape(_MARKUP.sub(r"\\\1", clean(text, limit)), quote=False)
    return _LINKS.sub(r"\1&#8203;", text).replace("|", "&#124;")


def html_text(text: str, limit: int = 400) -> str:
    """Text for between HTML tags, where Markdown is not read: HTML, mentions, references and links are disarmed."""
    return _LINKS.sub(r"\1&#8203;", html.escape(clean(text, limit), quote=False))


def name(text: str) -> str:
    """A name as code; one that could break a table cell as disarmed words."""
    return f"`{text}`" if _PLAIN.fullmatch(text) and text.strip() == text else prose(text, 120)
