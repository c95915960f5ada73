"""The HTML report in a real browser: nothing goes wrong, nothing is asked for, and it fits a phone."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.report.data.collect import collect
from pipelines.report.data.read import read
from pipelines.report.html.page import page
from tests.e2e.chromium import BROWSER, Tab, browser
from tests.unit.report import fixture

pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs Chromium")

PHONE, DESK = (360, 740), (1280, 900)
WIDER = """[...document.querySelectorAll("body *")].filter(
    (element) => !element.closest(".scroll, svg") && element.getBoundingClientRect().right > innerWidth
).map((element) => element.outerHTML.slice(0, 80))"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    inputs, config = fixture.artifacts(folder / "in"), fixture.config()
    report = collect(config, inputs, read(config, inputs))
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
    (made := folder / "report.html").write_text(page(report), encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def long_names(file: Path) -> Path:
    """The same report, its recipe, a model, a score and a merge called by names of a hundred letters."""
    told = (file.parent / "report.json").read_text(encoding="utf-8")
    for name in ('"tuned', "tickets/exact", "merge.kept", "support-tickets"):
        told = told.replace(name, name + 100 * "x")
    (made := file.parent / "long.html").write_text(page(json.loads(told)), encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def means(file: Path) -> Path:
    """The same report with a gate on the mean of a group in bits per byte: long names, long numbers."""
    told = json.loads((file.parent / "report.json").read_text(encoding="utf-8"))
    own = {"name": "general (mean of 2)", "base": 100 / 3, "candidate": 100 / 7, "delta": -19.0, "low": -20.0}
    told["gates"].append(told["gates"][0] | own | {"high": -18.0, "mde": 0.000143, "unit": "bits per byte"})
    (made := file.parent / "means.html").write_text(page(told), encoding="utf-8")
    return made


def colour(tab: Tab, selector: str, which: str) -> str:
    return str(tab.run(f"getComputedStyle(document.querySelector({selector!r}))[{which!r}]"))


def test_sentences_of_gates_are_read_whole_on_a_desk(tab, means):
    tab.show(means, *DESK, "light")
    assert tab.run("(e => e.scrollWidth - e.clientWidth)(document.querySelector('.gates').parentElement)") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK])
def test_page_logs_nothing_and_asks_for_nothing_but_itself(tab, file, scheme, size):
    tab.events.clear()
    tab.show(file, *size, scheme)
    asked = [told["params"]["request"]["url"] for told in tab.events if "request" in told["params"]]
    assert [url for url in asked if not url.startswith("data:")] == [file.as_uri()]
    assert [told for told in tab.events if "request" not in told["params"]] == []


@pytest.mark.parametrize("size", [PHONE, DESK])
@pytest.mark.parametrize("names", ["file", "long_names"])
def test_page_has_nothing_wider_than_the_window(tab, names, size, request):
    tab.show(request.getfixturevalue(names), *size, "light")
    tab.run("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")
    assert tab.run("document.documentElement.scrollWidth") == size[0]
    assert tab.run(WIDER) == []


def test_page_follows_the_theme_of_the_system_and_the_readers_choice(tab, file):
    tab.show(file, *DESK, "light")
    light = colour(tab, "body", "backgroundColor"), colour(tab, "svg.figure text", "fill")
    tab.show(file, *DESK, "dark")
    dark = colour(tab, "body", "backgroundColor"), colour(tab, "svg.figure text", "fill")
    assert not set(light) & set(dark)
    tab.run("document.querySelector('#theme-light').click()")
    assert (colour(tab, "body", "backgroundColor"), colour(tab, "svg.figure text", "fill")) == light


def test_page_runs_no_script_that_a_model_wrote(tab, file):
    tab.show(file, *DESK, "light")
    assert tab.run("document.querySelectorAll('main script').length") == 0
    tab.run("document.body.append(Object.assign(document.createElement('script'), {text: 'window.caught = 1'}))")
    assert tab.run("window.caught ?? null") is None


def test_page_contents_lead_to_their_sections(tab, file):
    tab.show(file, *DESK, "light")
    missing = "[...document.querySelectorAll('.contents a')].filter((a) => !document.querySelector(a.hash)).length"
    assert tab.run(missing) == 0
    tab.show(file, *PHONE, "light")
    assert tab.run("document.querySelector('.contents details').open") is False
