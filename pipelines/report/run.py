"""The report stage: reads what the artifacts hold, and writes report.json and report.md."""

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipelines.engine.stage import Inputs
from pipelines.engine.store import RECORD, write_json
from pipelines.engine.worker import load_attribute
from pipelines.report.collect import BASE, Extras, collect
from pipelines.report.config import ReportConfig
from pipelines.report.render import render

VERIFICATION = "verification.json"


def run(config: ReportConfig, inputs: Inputs, out_dir: Path) -> dict[str, Any]:
    """Fill `out_dir` with report.json and the formats that are asked for."""
    report = collect(config, inputs, Extras(_samples(config, inputs), _settings(inputs), _checks(inputs)))
    _draw(report["searches"], out_dir)
    write_json(out_dir / "report.json", report)
    page = render(report)
    if "markdown" in config.formats:
        (out_dir / "report.md").write_text(page, encoding="utf-8")
    return {"verdict": report["verdict"] and report["verdict"]["verdict"], "characters": len(page)}


def _draw(searches: list[dict[str, Any]], out_dir: Path) -> None:
    """The front of every search as a picture, noted in the report, where what draws it is installed."""
    fronts = [entry for entry in searches if entry["facts"]["pareto"]]
    if fronts and find_spec("matplotlib"):
        draw = load_attribute("pipelines.report.pareto:draw")
        for entry in fronts:
            entry["picture"] = f"pareto-{entry['id'].partition('.')[2]}.svg"
            (out_dir / entry["picture"]).write_text(draw(entry["facts"]), encoding="utf-8")


def _samples(config: ReportConfig, inputs: Inputs) -> dict[tuple[str, str, str], list[dict[str, Any]]]:
    """The samples of the base and the candidate, by suite, model and measurement."""
    return {
        (suite, model, path.stem): _read_lines(path)
        for suite, models in config.scores.items()
        for model, ref in models.items()
        if model in (BASE, config.candidate) and ref in inputs
        for path in sorted((inputs[ref].path / "samples").glob("*.jsonl"))
    }


def _checks(inputs: Inputs) -> dict[str, list[dict[str, Any]]]:
    """What the verification of each export saw."""
    files = {str(ref): artifact.path / VERIFICATION for ref, artifact in inputs.items()}
    return {
        ref: json.loads(path.read_text(encoding="utf-8"))["checks"] for ref, path in files.items() if path.is_file()
    }


def _read_lines(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _settings(inputs: Inputs) -> dict[str, dict[str, Any]]:
    """What each artifact was made with, as its record says; inputs by name, files by the beginning of their digest."""
    names = {artifact.key: str(ref) for ref, artifact in inputs.items()}
    records = {str(ref): artifact.path / RECORD for ref, artifact in inputs.items()}
    return {
        ref: _named(json.loads(path.read_text(encoding="utf-8"))["identity"]["config"], names)
        for ref, path in records.items()
        if path.is_file()
    }


def _named(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_named(item, names) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"input"}:
        return names.get(value["input"], value["input"][:12])
    if value.keys() == {"sha256"}:
        return f"sha256:{value['sha256'][:12]}"
    return {key.rstrip("_"): _named(item, names) for key, item in value.items()}
