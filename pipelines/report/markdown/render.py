"""report.json to Markdown: the order of the sections, and what gives way when a comment cannot hold them all."""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from pipelines.report.data.collect import Report
from pipelines.report.markdown.changed import answers, canaries
from pipelines.report.markdown.flow import lineage
from pipelines.report.markdown.judged import gates, verdict
from pipelines.report.markdown.kept import learned_and_kept, selection
from pipelines.report.markdown.made import data, training
from pipelines.report.markdown.origin import comparability, limits, provenance, reproduce
from pipelines.report.markdown.scored import scores
from pipelines.report.markdown.searched import search
from pipelines.report.markdown.shipped import exports, merges
from pipelines.report.markdown.spent import resources
from pipelines.report.text import name

COMMENT_LIMIT = 65_536
"""Characters that GitHub takes in one comment."""
SUMMARY_LIMIT = 1_000_000
"""Bytes of a step's summary on GitHub, less a margin: above 1 MiB it shows none of it."""

Renderer = Callable[[Report], str]

SECTIONS: dict[str, tuple[Renderer, ...]] = {
    "verdict": (verdict,),
    "gates": (gates,),
    "scores": (scores, partial(scores, rest=False)),
    "learned and kept": (learned_and_kept,),
    "merges": (merges,),
    "search": (search, partial(search, rest=False)),
    "selection": (selection,),
    "answers": (partial(answers, examples=10), partial(answers, examples=3), partial(answers, examples=0)),
    "canaries": (partial(canaries, documents=50), partial(canaries, documents=5)),
    "data": (data,),
    "training": (training,),
    "export": (exports, partial(exports, rest=False)),
    "comparability": (comparability,),
    "resources": (resources, partial(resources, rest=False)),
    "lineage": (lineage, partial(lineage, scores=False)),
    "provenance": (provenance,),
    "reproduce": (reproduce,),
    "limits": (limits,),
}
"""In the order of reading; each from its fullest form to its shortest."""

GIVES_WAY = (
    "lineage", "canaries", "answers", "search", "resources", "comparability", "scores", "lineage", "provenance",
    "answers", "canaries", "data", "merges", "training", "resources", "export", "search", "selection",
    "answers", "export", "learned and kept", "limits", "scores", "gates",
)  # fmt: skip
"""What is shortened first when there is too much. A section past its shortest form is left out."""


def render(report: Report, limit: int = COMMENT_LIMIT, size: Callable[[str], int] = len) -> str:
    """The page, of at most `limit` in `size`; what was shortened is said at its end."""
    forms = dict.fromkeys(SECTIONS, 0)
    bodies = {section: _form(report, section, 0) for section in SECTIONS}
    shortened: dict[str, None] = {}
    for section in GIVES_WAY:
        if size(_page(report, bodies, shortened)) <= limit:
            break
        forms[section] += 1
        shorter = _form(report, section, forms[section])
        if shorter != bodies[section]:
            bodies[section] = shorter
            shortened[section] = None
    return _page(report, bodies, shortened)


def summary(report: Report) -> str:
    """The page for the summary of a workflow step, which holds far more than a comment."""
    return render(report, SUMMARY_LIMIT, lambda page: len(page.encode()))


def marker(recipe: str) -> str:
    """The hidden first line by which the comment of a recipe is found again."""
    return f"<!-- burnish:report:{re.sub(r'[^A-Za-z0-9_-]', '_', recipe)} -->"


def _form(report: Report, section: str, form: int) -> str:
    renderers = SECTIONS[section]
    return renderers[form](report) if form < len(renderers) else ""


def _page(report: Report, bodies: Mapping[str, str], shortened: Iterable[str]) -> str:
    said = ", ".join(shortened)
    note = f"Shortened to fit: {said}. All of it is in report.json." if said else ""
    head = f"{marker(report['recipe'])}\n## Burnish: {name(report['recipe'])}"
    return "\n\n".join(block for block in (head, *bodies.values(), note) if block) + "\n"
