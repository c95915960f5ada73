"""A suite as data: its scores, what the models differ by, how they generated, and whether they may be compared."""

import json
from collections.abc import Mapping
from typing import Any

from pipelines.engine.stage import Artifact
from pipelines.report.config import ReportConfig
from pipelines.report.data.estimates import ALPHA, estimates, group_estimates, told
from pipelines.report.data.measures import BASE, contract, measures
from pipelines.report.data.read import Found


def suite_facts(config: ReportConfig, suite: str, inputs: Mapping[str, Artifact], found: Found) -> dict[str, Any]:
    """The scores of a suite with the models as columns: the base, the candidate, the others."""
    measured = {model: inputs[ref].metrics for model, ref in config.scores[suite].items() if ref in inputs}
    first = [model for model in (BASE, config.candidate) if model in measured]
    models = {model: measured[model] for model in dict.fromkeys([*first, *measured])}
    scores = found.scores.get(suite, {})
    others = {model: scores[model] for model in models if model != BASE and model in scores}
    seen = estimates(scores[BASE], others) if BASE in scores else {}
    rows = measures(models)
    return {
        "models": list(models),
        "rows": rows,
        "alpha": ALPHA,
        "estimates": {name: {model: told(one) for model, one in by_model.items()} for name, by_model in seen.items()},
        "groups": group_estimates({"models": list(models), "rows": rows}, seen),
        "generation": _by_measurement({model: item["generation"] for model, item in models.items()}),
        "contract": contract(models),
        "notes": [{"model": model, "note": note} for model, item in models.items() for note in item["notes"]],
    }


def _by_measurement(models: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    names = dict.fromkeys(name for told in models.values() for name in told)
    return {name: {model: _visible(told[name]) for model, told in models.items() if name in told} for name in names}


def _visible(told: Mapping[str, Any]) -> dict[str, Any]:
    """Settings whose stops can be read: a line break as \\n."""
    stops = told.get("until") or []
    written = [json.dumps(stop, ensure_ascii=False)[1:-1] for stop in ([stops] if isinstance(stops, str) else stops)]
    return {**told, "until": written}
