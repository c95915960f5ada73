"""Whatever models, datasets and users write, every section of report.md stays what it is."""

import functools
import json
import re
import tempfile
import time
import unicodedata
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from pipelines.engine.stage import Artifact
from pipelines.report.data.collect import collect
from pipelines.report.data.measures import BASE
from pipelines.report.data.read import read
from pipelines.report.markdown.render import COMMENT_LIMIT, SECTIONS, render
from pipelines.report.run import run
from tests.unit.report import fixture
from tests.unit.report.test_advised import PAIR, advice
from tests.unit.report.test_search import search

MARKDOWN = MarkdownIt("gfm-like", {"linkify": False})
SIGNS = "ab1 `*_[]()<>&|\\~$@#:/.,;\"'{}=+-!\n\r\t\x1b\x00\u202e\u2028\ud800"
HOSTILE = st.one_of(
    st.text(st.sampled_from(SIGNS), min_size=1, max_size=40),
    st.sampled_from(
        [
            fixture.NASTY,
            "\n\n# a title\n\n| a | b |\n| - | - |\n| 1 | 2 | 3 |",
            "</summary></details>\n\n<img src=x onerror=alert(1)>",
            '"]; click n0 "javascript:alert(1)"\n```\n@octocat',
            "--> <!-- -->\n@team/all GH-1 owner/repo#12 www.evil.example",
            "`" * 30 + "|" * 30,
        ]
    ),
)
STEADY = {"verdict", "rule", "unit", "kind", "key", "schema_version", "stage"}
"""Keys of words that the code chooses."""
NAMED = {
    "suites", "values", "n", "stderr", "retention", "means", "estimates", "same", "differs", "told", "generation",
    "settings", "method", "params", "drops", "scores", "winner", "subject_to", "dropped", "answers",
}  # fmt: skip
"""Keys of mappings whose keys are names that others chose."""


@functools.cache
def whole() -> str:
    """A report with every section, as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        inputs = fixture.artifacts(Path(folder))
        inputs["merge.best"] = Artifact("merge.best", "model", Path(folder), "d" * 64, search())
        inputs["advice.kept"] = Artifact("advice.kept", "advice", Path(folder), "d" * 64, advice("one base", [PAIR]))
        scores = inputs["evaluate.tuned@test"].metrics
        other = {**scores["contract"], "facts": {**scores["contract"]["facts"], "dtype": "int4", "tokenizer": "t"}}
        noted = {**scores, "contract": other, "notes": ["A prompt was longer than the context."]}
        inputs["evaluate.tuned@test"] = replace(inputs["evaluate.tuned@test"], metrics=noted)
        refs = (*fixture.config().artifacts, "merge.best", "advice.kept", "export.held")
        config = fixture.config(artifacts=refs)
        return json.dumps(collect(config, inputs, read(config, inputs)))


def spoiled(text: str) -> dict[str, Any]:
    """The report with `text` at the end of every name and word in it that the code did not choose."""

    def renamed(key: str, within: str) -> str:
        return key + text if within in NAMED and key not in (BASE, "candidate") else key

    def walk(value: Any, within: str) -> Any:
        if isinstance(value, list):
            return [walk(item, "" if isinstance(item, dict) else within) for item in value]
        if isinstance(value, dict):
            return {renamed(key, within): walk(item, key) for key, item in value.items()}
        return value + text if isinstance(value, str) and within not in STEADY and value != BASE else value

    return {key: walk(item, key) for key, item in json.loads(whole()).items()}


def tokens(markdown: str) -> list[Token]:
    return [inner for token in MARKDOWN.parse(markdown) for inner in (token, *(token.children or []))]


def broken(markdown: str) -> list[str]:
    """What stands in a page that only hostile text can have put there."""
    found = tokens(markdown)
    wrong = [token.type for token in found if token.type in ("html_inline", "link_open", "image", "em_open", "s_open")]
    wrong += [token.content for token in found if token.type == "text" and re.search(r"@\w|#\d|://", token.content)]
    html = "".join(token.content for token in found if token.type == "html_block")
    words = re.sub(r"</?details>|</?summary>|^<!-- burnish:report:[\w-]* -->", "", html)
    wrong += [words] if re.search(r"[<>]", words) or re.search(r"@\w|#\d", unescape(words)) else []
    wrong += ["folds"] if html.count("<details>") != html.count("</details>") else []
    wrong += [sign for sign in markdown if sign != "\n" and unicodedata.category(sign) in ("Cc", "Cs")]
    wrong += re.findall("[\u202a-\u202e\u2066-\u2069]", markdown)
    titles = [token for token in found if token.type == "heading_open"]
    wrong += ["title"] if len(titles) != len(re.findall(r"^#{2,3} [A-Z]", markdown, re.MULTILINE)) else []
    return wrong + list(uneven(markdown))


def uneven(markdown: str) -> list[str]:
    """Rows of tables that have another number of cells than their heads; a pipe in code splits a cell as well."""
    wrong, cells = [], 0
    for line in markdown.splitlines():
        bars = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        if cells and bars and bars != cells:
            wrong.append(line)
        cells = bars
    return wrong


@pytest.mark.parametrize("section", SECTIONS)
def test_report_of_a_whole_recipe_has_this_section(section: str) -> None:
    """Else the tests below would test nothing."""
    page = SECTIONS[section][0](json.loads(whole()))
    assert page and broken(page) == []


@pytest.mark.parametrize("section", SECTIONS)
@settings(max_examples=15, deadline=None)
@example(text=fixture.NASTY)
@given(text=HOSTILE)
def test_section_of_hostile_words_is_nothing_but_its_own_markup(section: str, text: str) -> None:
    report = spoiled(text)
    calm = len([token for token in tokens(SECTIONS[section][0](json.loads(whole()))) if token.type == "heading_open"])
    for renderer in SECTIONS[section]:
        page = renderer(report)
        assert broken(page) == []
        assert len([token for token in tokens(page) if token.type == "heading_open"]) <= calm


@settings(max_examples=15, deadline=None)
@given(text=HOSTILE, limit=st.integers(6_000, COMMENT_LIMIT))
def test_page_of_hostile_words_keeps_its_markup_and_its_limit(text: str, limit: int) -> None:
    page = render(spoiled(text), limit)
    assert broken(page) == []
    assert len(page) <= limit


@settings(max_examples=50, deadline=None)
@given(text=HOSTILE)
def test_lineage_of_hostile_names_is_one_chart(text: str) -> None:
    (fence,) = (token for token in tokens(SECTIONS["lineage"][0](spoiled(text))) if token.type == "fence")
    assert fence.info == "mermaid"
    first, *lines = fence.content.strip().splitlines()
    assert first == "flowchart LR"
    label = r"n\d+(?:\[|\[\(|\(\[|\{\{|\[\[)\"[A-Za-z0-9 ._#;-]+\"(?:\]|\)\]|\]\)|\}\}|\]\])"
    assert all(re.fullmatch(rf"  (?:{label}|n\d+ --> n\d+)", line) for line in lines)


def test_answers_of_a_million_characters_are_cut(tmp_path: Path) -> None:
    inputs = fixture.artifacts(tmp_path / "in")
    for ref in ("evaluate.base@test", "evaluate.best@test"):
        path = inputs[ref].path / "samples" / "tickets.jsonl"
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        long = [row | {"answer": (row["answer"] + "<b>@x ") * 40_000} if at < 4 else row for at, row in enumerate(rows)]
        path.write_text("".join(json.dumps(row) + "\n" for row in long), encoding="utf-8")
    (out := tmp_path / "out").mkdir()
    started = time.monotonic()
    run(fixture.config(), inputs, out)
    assert time.monotonic() - started < 20
    assert (out / "report.json").stat().st_size < 200_000
    page = (out / "report.md").read_text(encoding="utf-8")
    assert len(page) <= COMMENT_LIMIT and broken(page) == []
