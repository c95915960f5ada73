"""Text of models and users in Markdown: whatever it holds, it stays text."""

import html
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pipelines.report.text import clean, code, name, prose

MARKDOWN = MarkdownIt("gfm-like", {"linkify": False})
HOSTILE = st.text(st.sampled_from("ab1 `*_[]()<>&|\\~$@#:/.\n\r\t\x1b\x00\u202e\ud800!-"), max_size=60)


def kinds(markdown: str) -> set[str]:
    """Kinds of inline tokens that a paragraph with this text has."""
    (inline,) = [token for token in MARKDOWN.parse(f"x: {markdown}") if token.type == "inline"]
    return {token.type for token in inline.children or []}


@given(HOSTILE)
def test_code_of_any_text_is_one_code_span(text: str) -> None:
    found = kinds(code(text))
    assert found <= {"text", "code_inline"}
    assert ("code_inline" in found) == (code(text) != "(empty)")


@given(HOSTILE)
def test_prose_of_any_text_is_nothing_but_text(text: str) -> None:
    found = kinds(prose(text))
    assert found <= {"text", "text_special"}
    assert not re.search(r"[|\n]", prose(text))
    assert not re.search(r"@\w|#\d", html.unescape(prose(text)))


@given(HOSTILE)
def test_name_of_any_text_never_splits_a_table_cell(text: str) -> None:
    table = f"| a | b |\n| - | - |\n| {name(text)} | end |\n"
    cells = [t.content for t in MARKDOWN.parse(table) if t.type == "inline"]
    assert cells[-1] == "end" and len(cells) == 4


@given(st.text(max_size=300), st.integers(12, 100))
def test_clean_of_any_text_is_short_and_printable(text: str, limit: int) -> None:
    found = clean(text, limit)
    assert len(found) <= limit
    assert not [sign for sign in found if unicodedata.category(sign) in ("Cc", "Cs")]
    found.encode()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]8;;https://x.example\x07link\x1b]8;;\x07", "link"),
        ("a\r\nb\u2028c", "a \u23ce b \u23ce c"),
        ("a\u202eb\x00c", "abc"),
    ],
)
def test_clean_of_terminal_tricks_leaves_the_words(text: str, shown: str) -> None:
    assert clean(text, 80) == shown


def test_clean_of_a_million_characters_keeps_the_beginning_and_more_of_the_end() -> None:
    found = clean("begin" + "x" * 1_000_000 + "the end", 50)
    assert found.startswith("begin") and found.endswith("the end") and len(found) == 50


def test_prose_of_links_and_references_disarms_them() -> None:
    assert prose("@octocat #12 GH-7 http://x www.x") == (
        "@&#8203;octocat #&#8203;12 GH-&#8203;7 http:&#8203;//x www&#8203;.x"
    )
