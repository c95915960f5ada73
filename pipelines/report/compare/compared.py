"""Reports from their files to a comparison: reads them, checks their format, and finds their scores again."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.engine.store import RECORD, Record
from pipelines.errors import wrong
from pipelines.report.compare.compare import Comparison, Run, compare
from pipelines.report.compare.conditions import CANDIDATE, model_of
from pipelines.report.data.collect import SCHEMA_VERSION, Report
from pipelines.report.data.measures import BASE
from pipelines.stats.scores import Scores, read_scores


def compared(reports: Sequence[tuple[str, Path]], generations: bool) -> Comparison:
    """The comparison of the reports in these files, by the names that stand before them.

    UserError for a file that is no report of this format. Where the scores that a report was made from still lie in
    the store beside it, differences get their intervals from them.
    """
    return compare([_run(name, file) for name, file in reports], generations)


def _run(name: str, file: Path) -> Run:
    report = _report(file)
    folders = _scores_folders(file.resolve().parent)
    scores: dict[tuple[str, str], Scores] = {}
    for suite in report["suites"]:
        for role in (BASE, CANDIDATE):
            folder = folders.get((suite, model_of(report, role)))
            if folder and (folder / "scores.json").is_file():
                scores[suite, role] = read_scores(folder)
    return Run(name, report, scores)


def _report(file: Path) -> Report:
    try:
        report: Any = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise wrong(str(file), "is no JSON", str(error), "Name the report.json of a run") from error
    found = report.get("schema_version") if isinstance(report, dict) else None
    if found != SCHEMA_VERSION:
        fix = "Make it again with this version: burnish run RECIPE"
        raise wrong(str(file), f"is no report in format {SCHEMA_VERSION}", f"schema_version {found}", fix)
    return dict(report)


def _scores_folders(folder: Path) -> Mapping[tuple[str, str], Path]:
    """By suite and model where the store that the report lies in has the scores; nothing for a report elsewhere."""
    if not (folder / RECORD).is_file():
        return {}
    record = Record(**json.loads((folder / RECORD).read_text(encoding="utf-8")))
    return {
        (suite, model): folder.parent / f"evaluate-{ref['input'][:12]}"
        for suite, models in record.identity["config"].get("scores", {}).items()
        for model, ref in models.items()
    }
