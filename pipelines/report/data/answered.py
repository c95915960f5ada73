"""What the models of a recipe answered: the documents that changed, and the tasks whose answers are all shown."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines.engine.stage import Artifact
from pipelines.report.config import ReportConfig
from pipelines.report.data.canaries import canaries
from pipelines.report.data.flips import flips
from pipelines.report.data.measures import BASE, RATIO
from pipelines.report.data.read import Lines

_Samples = Mapping[str, Mapping[str, Mapping[str, Lines]]]


def judged(verdict: Mapping[str, Any] | None, suites: Mapping[str, Any]) -> list[str]:
    """The suites whose answers are worth reading: those that gates speak of; without gates, all."""
    gated = {gate["suite"] for gate in verdict["gates"]} if verdict else set()
    return [suite for suite in suites if suite in gated or not gated]


def all_flips(
    candidate: str, suites: Mapping[str, Any], judged: Sequence[str], samples: _Samples
) -> Iterator[dict[str, Any]]:
    for suite in judged:
        for row in suites[suite]["rows"]:
            measurement, _, metric = row["name"].rpartition("/")
            base, other = (samples[suite].get(model, {}).get(measurement) for model in (BASE, candidate))
            if row["kind"] != RATIO and base is not None and other is not None:
                told = flips(base, other, metric, row["lower_is_better"], row["chance"])
                yield {"suite": suite, "name": row["name"], "chance": row["chance"], **told}


def all_canaries(
    config: ReportConfig, suites: Mapping[str, Any], inputs: Mapping[str, Artifact], samples: _Samples
) -> Iterator[dict[str, Any]]:
    """The tasks whose suite says that all of their answers are shown."""
    for title, suite in suites.items():
        shown = {
            measurement
            for model in suite["models"]
            for measurement, show in inputs[config.scores[title][model]].metrics["show"].items()
            if show == "all"
        }
        for row in suite["rows"]:
            measurement, _, metric = row["name"].rpartition("/")
            if measurement in shown:
                theirs = {model: samples[title][model][measurement] for model in row["values"]}
                yield {"suite": title, "name": row["name"], **canaries(theirs, metric)}
