"""report.json to one HTML file that needs no network: report.html."""

import base64
import hashlib
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipelines.engine.imports import load_attribute
from pipelines.report import numbers
from pipelines.report.data.collect import Report
from pipelines.report.html.figures.spec import Figure
from pipelines.report.html.views.answers import canaries, flips
from pipelines.report.html.views.kept import kept
from pipelines.report.html.views.lineage import lineage
from pipelines.report.html.views.made import data, exports, merges, training
from pipelines.report.html.views.scores import scores
from pipelines.report.html.views.search import search
from pipelines.report.html.views.terms import TERMS
from pipelines.report.html.views.trust import comparability, limits, provenance, resources
from pipelines.report.html.views.verdict import gates, verdict
from pipelines.report.text import clean

_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
"""Control characters, changes of the direction of writing, and halves of characters, none of which a page needs."""

_LONGEST = 4000
_FILTERS = ("value", "difference", "distance", "probability", "count")

View = Callable[[Report], dict[str, Any] | None]


class _Section(NamedTuple):
    """A section of the page, which its template `<id>.html.j2` shows; left out where its view has nothing."""

    id: str
    title: str
    view: View


_SECTIONS = (
    _Section("gates", "Gates", gates),
    _Section("scores", "Scores", scores),
    _Section("kept", "Learned and kept", kept),
    _Section("training", "Training", training),
    _Section("merges", "Merges", merges),
    _Section("search", "Search", search),
    _Section("flips", "Answers that changed", flips),
    _Section("canaries", "Answers side by side", canaries),
    _Section("data", "Data", data),
    _Section("comparability", "Comparability", comparability),
    _Section("resources", "Time, memory, cost", resources),
    _Section("lineage", "Lineage", lineage),
    _Section("exports", "Export", exports),
    _Section("provenance", "Provenance", provenance),
    _Section("limits", "Limits", limits),
    _Section("terms", "Terms", lambda report: {"terms": TERMS}),
)
"""In the order of reading."""


def page(report: Mapping[str, Any]) -> str:
    """The page as HTML text, its style, script and pictures inside; the same report gives the same text.

    Without matplotlib there are no pictures, and the page says what they need.
    """
    told: Report = _cleaned(report)
    environment = _environment()
    script = _asset(environment, "page.js")
    shown = [(section, view) for section in _SECTIONS if (view := section.view(told)) is not None]
    text = environment.get_template("page.html.j2").render(
        report=told,
        top=verdict(told),
        sections=[
            (section, Markup(environment.get_template(f"{section.id}.html.j2").render(view))) for section, view in shown
        ],
        style=_asset(environment, "page.css"),
        script=script,
        script_hash=_digest(script),
        pictures=_can_draw(),
    )
    return _UNSEEN.sub("", text)


def _cleaned(value: Any) -> Any:
    """The report with every text short and free of terminal sequences, which it is already where it was made here."""
    if isinstance(value, Mapping):
        return {str(key): _cleaned(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_cleaned(item) for item in value]
    return clean(value, _LONGEST) if isinstance(value, str) else value


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pipelines.report.html"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {name: getattr(numbers, name) for name in _FILTERS}
    environment.globals |= {"figure": _drawer(), "terms": TERMS}
    return environment


def _drawer() -> Callable[[Figure], Markup]:
    """What draws a picture under the next free name; nothing where matplotlib is not installed."""
    if not _can_draw():
        return lambda spec: Markup("")
    draw, names = load_attribute("pipelines.report.html.figures.draw:draw"), _names()
    return lambda spec: Markup(draw(spec, next(names)))


def _can_draw() -> bool:
    return find_spec("matplotlib") is not None


def _names() -> Iterator[str]:
    return (f"figure-{number}" for number in itertools.count(1))


def _asset(environment: Environment, name: str) -> Markup:
    """A file of the page's own, which nothing is put into."""
    loader = environment.loader
    assert loader is not None
    return Markup(loader.get_source(environment, name)[0].strip())


def _digest(script: str) -> str:
    """The script as a content security policy names it."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
