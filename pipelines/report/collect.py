"""Everything that the report says, as one plain dict made from artifacts: report.json."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pipelines.engine.stage import Artifact, Ref
from pipelines.report.config import ReportConfig
from pipelines.report.flips import Samples, flips
from pipelines.report.measures import common_unit, contract, measures
from pipelines.report.portable import portable, steady
from pipelines.report.search_facts import searches, without_search

SCHEMA_VERSION = 1
BASE = "base"

Report = dict[str, Any]


class Extras(NamedTuple):
    """What is read from the artifacts' folders beside their metrics.

    `samples` has the samples by suite, model and measurement; `settings` the settings that an artifact was made with,
    `checks` what the verification of an export saw.
    """

    samples: Mapping[tuple[str, str, str], Samples] = {}
    settings: Mapping[str, Mapping[str, Any]] = {}
    checks: Mapping[str, Sequence[Mapping[str, Any]]] = {}


def collect(config: ReportConfig, inputs: Mapping[str, Artifact], extras: Extras) -> Report:
    """The report as data. An entry that is referred to but absent from `inputs` was held back by the gates."""
    made = {str(ref): inputs[ref] for ref in _refs(config) if ref in inputs}
    verdict = inputs[config.verdict].metrics if config.verdict and config.verdict in inputs else None
    suites = {suite: _suite(config, suite, inputs) for suite in config.scores}
    suites = {suite: found for suite, found in suites.items() if found["models"]}
    report = {
        "schema_version": SCHEMA_VERSION,
        "recipe": config.recipe,
        "command": config.command,
        "candidate": config.candidate,
        "verdict": verdict and {key: item for key, item in verdict.items() if key != "gates"},
        "gates": [_gate(gate, suites) for gate in verdict["gates"]] if verdict else [],
        "suites": suites,
        "flips": list(_flips(config.candidate, suites, _judged(verdict, suites), extras.samples)),
        "bases": _entries(made, extras, lambda ref, item: _section(ref) == BASE),
        "data": _entries(made, extras, lambda ref, item: item.kind == "dataset"),
        "training": _entries(made, extras, lambda ref, item: _section(ref) == "train"),
        "merges": [{**entry, "facts": without_search(entry["facts"])} for entry in _entries(made, extras, _is_merge)],
        "searches": searches(made, suites, _documents(extras)),
        "advice": _entries(made, Extras(), lambda ref, item: item.kind == "advice"),
        "selections": _entries(made, extras, lambda ref, item: _section(ref) == "select"),
        "exports": _entries(made, extras, lambda ref, item: item.kind == "export"),
        "held_back": [str(ref) for ref in _refs(config) if ref not in inputs],
        "artifacts": [{"id": ref, "kind": item.kind, "key": item.key} for ref, item in made.items()],
    }
    return dict(portable(report))


def _refs(config: ReportConfig) -> tuple[Ref, ...]:
    """Every reference once: what was made in the order of the graph, then scores and verdict."""
    scores = [ref for models in config.scores.values() for ref in models.values()]
    return tuple(dict.fromkeys([*config.artifacts, *scores, *([config.verdict] if config.verdict else [])]))


def _section(ref: str) -> str:
    """The section of the recipe that an id belongs to: train.tuned, base:1f2e3d4c."""
    return ref.partition(".")[0].partition(":")[0]


def _is_merge(ref: str, item: Artifact) -> bool:
    return item.kind in ("model", "adapter") and _section(ref) not in (BASE, "train", "select")


def _documents(extras: Extras) -> dict[tuple[str, str], list[str]]:
    """The documents that the base was measured on, by suite and measurement."""
    return {
        (suite, measurement): [str(sample["doc_hash"]) for sample in samples]
        for (suite, model, measurement), samples in extras.samples.items()
        if model == BASE
    }


def _entries(
    made: Mapping[str, Artifact], extras: Extras, belongs: Callable[[str, Artifact], bool]
) -> list[dict[str, Any]]:
    return [
        {
            "id": ref,
            "facts": steady(item.metrics),
            "settings": dict(extras.settings.get(ref, {})),
            "checks": list(extras.checks.get(ref, ())),
        }
        for ref, item in made.items()
        if belongs(ref, item)
    ]


def _suite(config: ReportConfig, suite: str, inputs: Mapping[str, Artifact]) -> dict[str, Any]:
    """The scores of a suite with the models as columns: the base, the candidate, the others."""
    measured = {model: inputs[ref].metrics for model, ref in config.scores[suite].items() if ref in inputs}
    first = [model for model in (BASE, config.candidate) if model in measured]
    models = list(dict.fromkeys([*first, *measured]))
    ordered = {model: measured[model] for model in models}
    notes = [{"model": model, "note": note} for model, found in ordered.items() for note in found.get("notes", ())]
    return {"models": models, "rows": measures(ordered), "contract": contract(ordered), "notes": notes}


def _gate(gate: Mapping[str, Any], suites: Mapping[str, Any]) -> dict[str, Any]:
    """A gate of the verdict, with the unit that its numbers are in."""
    of_suite = {title: suite for title, suite in suites.items() if title == gate["suite"]}
    return {**gate, "unit": common_unit(of_suite, lambda row: gate["name"] in (row["name"], row["group"]))}


def _judged(verdict: Mapping[str, Any] | None, suites: Mapping[str, Any]) -> list[str]:
    """The suites whose answers are worth reading: those that gates speak of; without gates, all."""
    gated = {gate["suite"] for gate in verdict["gates"]} if verdict else set()
    return [suite for suite in suites if suite in gated or not gated]


def _flips(
    candidate: str, suites: Mapping[str, Any], judged: Sequence[str], samples: Mapping[tuple[str, str, str], Samples]
) -> Iterator[dict[str, Any]]:
    for suite in judged:
        for row in suites[suite]["rows"]:
            measurement, _, metric = row["name"].rpartition("/")
            base, other = samples.get((suite, BASE, measurement)), samples.get((suite, candidate, measurement))
            if row["kind"] != "ratio" and base is not None and other is not None:
                yield {"suite": suite, "name": row["name"], **flips(base, other, metric, row["lower_is_better"])}
