"""Sentences of the Markdown report as HTML, so that both pages say the same in the same words."""

import html
import re

from markupsafe import Markup, escape

_TOKENS = re.compile(r"(?P<fence>`+)(?P<code>.+?)(?P=fence)(?!`)|\*\*(?P<bold>.+?)\*\*|\\(?P<sign>[\\`*_\[\]~$])", re.S)
_UNSEEN = "\u200b"


def sentence(markdown: str) -> Markup:
    """Words, code and bold words of one line. Whatever else the line holds comes out as text."""
    made, end = Markup(""), 0
    for found in _TOKENS.finditer(markdown):
        made += _words(markdown[end : found.start()])
        if found["code"] is not None:
            made += Markup("<code>{}</code>").format(found["code"].strip())
        elif found["bold"] is not None:
            made += Markup("<strong>{}</strong>").format(sentence(found["bold"]))
        else:
            made += escape(found["sign"])
        end = found.end()
    return made + _words(markdown[end:])


def bullets(section: str) -> list[Markup]:
    """The items of a section's list."""
    return [sentence(line[2:]) for line in section.splitlines() if line.startswith("- ")]


def _words(text: str) -> Markup:
    """Plain text of Markdown, where HTML is escaped already and links are broken by signs that nobody sees."""
    return escape(html.unescape(text).replace(_UNSEEN, ""))
