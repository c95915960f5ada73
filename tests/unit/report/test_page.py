"""The HTML page: what it shows, that nothing in it acts, loads or differs from run to run."""

import hashlib
import json
import re
from base64 import b64encode
from html.parser import HTMLParser
from typing import Any

import pytest

from pipelines.report.data.collect import collect
from pipelines.report.data.read import read
from pipelines.report.html import page as subject
from pipelines.report.html.page import page
from tests.unit.report import fixture
from tests.unit.report.test_search import search


class _Seen(HTMLParser):
    """The elements of a page, and its ids and links."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, attribute: str) -> list[str]:
        return [value for _, found in self.tags if (value := found.get(attribute)) is not None]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    inputs, config = fixture.artifacts(tmp_path_factory.mktemp("in")), fixture.config()
    return json.loads(json.dumps(collect(config, inputs, read(config, inputs))))


@pytest.fixture(scope="module")
def text(report: dict[str, Any]) -> str:
    return page(report)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pictures, which most of the page does not depend on and which take the most time."""
    monkeypatch.setattr(subject, "find_spec", lambda name: None)


def with_search(report: dict[str, Any]) -> dict[str, Any]:
    facts = {key: item for key, item in search().items() if key not in ("method", "tensors", "changed", "models")}
    gain = {"suite": "dev", "name": "tickets/exact_match", "n": 100, "seen": 100, "base": 0.02, "winner": 0.46}
    entry = {"id": "merge.searched", "facts": facts, "gains": [gain | {"gain": 0.44, "unit": "share"}], "picture": ""}
    return report | {"searches": [entry]}


def test_page_of_the_same_report_is_the_same(report, text):
    assert page(report) == text


def test_page_has_every_section_in_the_order_of_reading(report, undrawn):
    seen = re.findall(r'<section id="(\w+)"', page(with_search(report)))
    assert seen == [section.id for section in subject._SECTIONS]


def test_page_links_lead_somewhere_and_ids_are_unique(report):
    seen = _Seen(page(with_search(report)))
    ids = seen.all("id")
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in seen.all("href") if link.startswith("#")} <= set(ids)
    names = [name for names in seen.all("aria-labelledby") for name in names.split()]
    assert set(names) <= set(ids)


def test_page_loads_nothing_and_runs_its_own_script_alone(report):
    text = page(with_search(report))
    seen = _Seen(text)
    links = [link for attribute in ("src", "href", "xlink:href", "action") for link in seen.all(attribute)]
    assert {link for link in links if not link.startswith("#")} == {"data:,"}
    assert "@import" not in text
    assert set(re.findall(r"url\((.)", text)) <= {"#"}
    assert not [name for _, found in seen.tags for name in found if name.startswith("on")]
    scripts = re.findall(r"<script>(.*?)</script>", text, re.S)
    digests = [b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    policy = next(found["content"] for tag, found in seen.tags if tag == "meta" and "http-equiv" in found)
    assert policy is not None
    assert "default-src 'none'" in policy
    assert [f"'sha256-{digest}'" in policy for digest in digests] == [True]


def test_page_shows_the_answers_of_models_as_text(report, undrawn):
    text = page(report)
    assert "&lt;/details&gt;&lt;script&gt;alert(1)&lt;/script&gt;" in text
    evil = "\x1b[31m<img src=x onerror=alert(1)>\u202e\x07{{ 7*7 }}" + "long " * 200_000
    example = {**report["flips"][0]["worst"][0], "prompt": evil, "answers": {"base": evil, "candidate": evil}}
    flip = {**report["flips"][0], "worst": [example], "name": evil}
    nasty = report | {"flips": [flip], "recipe": evil, "candidate": "best"}
    made = page(nasty)
    assert len(made) < len(text) + 40_000
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", made)
    assert "<img" not in made
    assert "{{ 7*7 }}" in made


def test_page_restores_the_lines_of_prompts(text):
    assert "<pre>Ticket 0: red | @octocat fixes #12 `x` ``y``\n&lt;/details&gt;" in text


def test_page_tells_every_gate_with_its_evidence(text):
    assert '<span class="chip inconclusive">INCONCLUSIVE</span>' in text
    assert "improve by 5.0\u00a0pp" in text
    assert "3.0 % → 38.0 %" in text
    assert "over 3 seeds +34.0 pp [+22.0, +46.0], spread of the seeds 2.0 pp" in text
    assert "needs about 160 documents" in text
    assert "[+26.0, +44.0]" in text and "[29.0 %, 48.0 %]" in text and "[+29.0, +48.0]" not in text


def test_page_without_gates_says_that_there_is_no_verdict(report, undrawn):
    made = page(report | {"verdict": None, "gates": []})
    assert "<h1>No verdict</h1>" in made
    assert 'id="gates"' not in made


def test_page_without_anything_measured_is_a_page(report):
    lists = ("gates", "flips", "answers", "data", "training", "merges", "exports", "selections", "bases", "artifacts")
    bare = report | {key: [] for key in lists} | {"verdict": None, "suites": {}, "candidate": ""}
    bare |= {"forgetting": {"models": [], "replay": []}, "lineage": {"nodes": [], "edges": []}}
    bare |= {"resources": {"rows": [], "total_seconds": 0.0, "cost": None}}
    assert "No model was measured." in page(bare)


def test_page_without_matplotlib_says_what_its_pictures_need(report, text, undrawn):
    notice = "The pictures need matplotlib"
    assert notice not in text
    assert text.count('<svg class="figure"') > 5
    made = page(report)
    assert notice in made
    assert "<figure>" not in made


def test_page_explains_every_term_that_it_marks(text):
    assert set(re.findall(r'href="#(term-\w+)"', text)) <= set(re.findall(r'id="(term-\w+)"', text))


def test_search_shows_its_winner_and_why_trials_were_refused(report, undrawn):
    made = page(with_search(report))
    assert "The best of 14 trials (<code>tpe</code>), 12 of them admissible" in made
    assert "tickets/exact_match: is no finite number" in made
    assert "No other suite measured the winner" in made
