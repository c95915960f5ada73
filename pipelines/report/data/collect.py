"""Everything that the report says, as one plain dict made from artifacts: report.json.

Its JSON Schema is docs/report.schema.json. Whatever is added or changed raises SCHEMA_VERSION.
"""

from collections.abc import Callable, Mapping
from typing import Any

from pipelines.engine.stage import Artifact, Ref
from pipelines.report.config import ReportConfig
from pipelines.report.data.answered import all_canaries, all_flips, judged
from pipelines.report.data.forgetting import forgetting
from pipelines.report.data.measures import BASE, common_unit
from pipelines.report.data.portable import portable, steady
from pipelines.report.data.quantised import quantisations, served, without_choice
from pipelines.report.data.read import Found
from pipelines.report.data.records import lineage, resources, settings
from pipelines.report.data.search_facts import searches, without_search
from pipelines.report.data.suites import suite_facts

SCHEMA_VERSION = 3

Report = dict[str, Any]


def collect(config: ReportConfig, inputs: Mapping[str, Artifact], found: Found) -> Report:
    """The report as data. An entry that is referred to but absent from `inputs` was held back by the gates."""
    made = {str(ref): inputs[ref] for ref in _refs(config) if ref in inputs}
    verdict = inputs[config.verdict].metrics if config.verdict and config.verdict in inputs else None
    suites = {suite: suite_facts(config, suite, inputs, found) for suite in config.scores}
    suites = {suite: told for suite, told in suites.items() if told["models"]}
    training = _entries(made, found, lambda ref, item: _section(ref) == "train")
    report = {
        "schema_version": SCHEMA_VERSION,
        "recipe": config.recipe,
        "command": config.command,
        "candidate": config.candidate,
        "verdict": verdict and {key: item for key, item in verdict.items() if key != "gates"},
        "gates": [_gate(config, gate, suites) for gate in verdict["gates"]] if verdict else [],
        "suites": suites,
        "forgetting": forgetting(suites, training),
        "bases": _entries(made, found, lambda ref, item: _section(ref) == BASE),
        "data": _entries(made, found, lambda ref, item: item.kind == "dataset"),
        "training": training,
        "merges": [{**entry, "facts": without_search(entry["facts"])} for entry in _entries(made, found, _is_merge)],
        "searches": searches(made, suites, _documents(found)),
        "advice": _entries(made, Found(), lambda ref, item: item.kind == "advice"),
        "selections": _entries(made, found, lambda ref, item: _section(ref) == "select"),
        "exports": [_export(entry, found) for entry in _entries(made, found, lambda ref, item: item.kind == "export")],
        "quantisations": quantisations(made),
        "held_back": [str(ref) for ref in _refs(config) if ref not in inputs],
        "artifacts": [{"id": ref, "kind": item.kind, "key": item.key} for ref, item in made.items()],
        "lineage": lineage(made, found.records),
        "resources": {
            **resources(made, found.records, config.cost_per_hour, config.currency),
            "served": served(made),
        },
    }
    # Texts of models are cleaned where they are read; one that looks like a path is no path.
    texts = {
        "flips": list(all_flips(config.candidate, suites, judged(verdict, suites), found.samples)),
        "answers": list(all_canaries(config, suites, inputs, found.samples)),
    }
    return {**portable(report), **texts}


def _refs(config: ReportConfig) -> tuple[Ref, ...]:
    """Every reference once: what was made in the order of the graph, then scores and verdict."""
    scores = [ref for models in config.scores.values() for ref in models.values()]
    return tuple(dict.fromkeys([*config.artifacts, *scores, *([config.verdict] if config.verdict else [])]))


def _section(ref: str) -> str:
    """The section of the recipe that an id belongs to: train.tuned, base:1f2e3d4c."""
    return ref.partition(".")[0].partition(":")[0]


def _is_merge(ref: str, item: Artifact) -> bool:
    return item.kind in ("model", "adapter") and _section(ref) not in (BASE, "train", "select")


def _documents(found: Found) -> dict[tuple[str, str], list[str]]:
    """The documents that the base was measured on, by suite and measurement."""
    return {
        (suite, measurement): [str(sample["doc_hash"]) for sample in samples]
        for suite, models in found.samples.items()
        for measurement, samples in models.get(BASE, {}).items()
    }


def _entries(made: Mapping[str, Artifact], found: Found, belongs: Callable[[str, Artifact], bool]) -> list[Report]:
    given = settings(made, found.records)
    return [
        {
            "id": ref,
            "facts": steady(item.metrics),
            "settings": given.get(ref, {}),
            "checks": found.checks.get(ref, []),
        }
        for ref, item in made.items()
        if belongs(ref, item)
    ]


def _export(entry: Report, found: Found) -> Report:
    """An export with what its rules warned of.

    What a choice adds stands among the quantisations, and what its files were verified by stands with the one picked.
    """
    facts = without_choice(entry["facts"])
    if facts.keys() < entry["facts"].keys():
        return {**entry, "facts": facts, "checks": [], "warnings": []}
    return {**entry, "facts": facts, "warnings": found.warnings.get(entry["id"], [])}


def _gate(config: ReportConfig, gate: Mapping[str, Any], suites: Mapping[str, Any]) -> Report:
    """A gate of the verdict, with the scores that it is about, their unit, and the export that it went through."""
    through = config.through.get(gate["suite"])
    of_suite = {title: suite for title, suite in suites.items() if title == gate["suite"]}
    names = gate["scores"] or [gate["name"]]
    unit = common_unit(of_suite, lambda row: row["name"] in names)
    return {**gate, "scores": names, "unit": unit, "through": str(through) if through else None}
