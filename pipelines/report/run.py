"""The report stage: reads what the artifacts hold, and writes report.json and the formats that are asked for."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipelines.engine.imports import load_attribute
from pipelines.engine.stage import Inputs
from pipelines.engine.store import write_json
from pipelines.report.config import ReportConfig, ReportFormat
from pipelines.report.data.collect import collect
from pipelines.report.data.read import read

WRITERS: dict[ReportFormat, dict[str, str]] = {
    "markdown": {
        "report.md": "pipelines.report.markdown.render:render",
        "summary.md": "pipelines.report.markdown.render:summary",
    },
    "html": {"report.html": "pipelines.report.html.page:page"},
    "junit": {"junit.xml": "pipelines.report.ci.junit:junit"},
    "annotations": {"annotations.txt": "pipelines.report.ci.annotations:annotations"},
    "badge": {"badge.svg": "pipelines.report.ci.badge:badge"},
    "model_card": {"model_card.md": "pipelines.report.card.model_card:model_card"},
}
"""By format the files that it makes, each by a function from the report to its text."""


def run(config: ReportConfig, inputs: Inputs, out_dir: Path) -> dict[str, Any]:
    """Fill `out_dir` with report.json and the files of the formats; the metrics are the verdict and their sizes."""
    report = collect(config, inputs, read(config, inputs))
    _draw(report["searches"], out_dir)
    write_json(out_dir / "report.json", report)
    characters = {}
    for file, writer in ((file, writer) for form in config.formats for file, writer in WRITERS[form].items()):
        text: str = load_attribute(writer)(report)
        (out_dir / file).write_text(text, encoding="utf-8")
        characters[file] = len(text)
    return {"verdict": report["verdict"] and report["verdict"]["verdict"], "characters": characters}


def _draw(searches: list[dict[str, Any]], out_dir: Path) -> None:
    """The front of every search as a picture, noted in the report, where what draws it is installed."""
    fronts = [entry for entry in searches if entry["facts"]["pareto"]]
    if fronts and find_spec("matplotlib"):
        draw = load_attribute("pipelines.report.pareto:draw")
        for entry in fronts:
            entry["picture"] = f"pareto-{entry['id'].partition('.')[2]}.svg"
            (out_dir / entry["picture"]).write_text(draw(entry["facts"]), encoding="utf-8")
