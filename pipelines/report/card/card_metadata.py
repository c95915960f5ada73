"""The metadata of a model card as the Hub reads it: licence, origin, data, and evaluation results (model-index)."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from huggingface_hub import EvalResult, ModelCardData

from pipelines.report.card.ancestry import relation
from pipelines.report.data.collect import Report
from pipelines.report.data.forgetting import DRIFT
from pipelines.stats.estimate import too_few

UNKNOWN, OTHER = "unknown", "other"
_LISTED = """
afl-3.0 agpl-3.0 apache-2.0 apple-amlr apple-ascl artistic-2.0 bigcode-openrail-m bigscience-bloom-rail-1.0
bigscience-openrail-m bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5
cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0
cdla-permissive-2.0 cdla-sharing-1.0 creativeml-openrail-m deepfloyd-if-license ecl-2.0 epl-1.0 epl-2.0 etalab-2.0
eupl-1.1 eupl-1.2 gemma gfdl gpl gpl-2.0 gpl-3.0 intel-research isc lgpl lgpl-2.1 lgpl-3.0 lgpl-lr llama2 llama3
llama3.1 llama3.2 llama3.3 llama4 lppl-1.3c mit mpl-2.0 ms-pl ncsa odbl odc-by ofl-1.1 open-mdw openrail openrail++
osl-3.0 pddl postgresql unlicense wtfpl zlib
"""
LICENCES = frozenset(_LISTED.split())
"""Identifiers that the Hub knows (hub-docs, repositories-licenses), but for unknown and other."""

_HUB = re.compile(r"hub ([\w.-]+/[\w.-]+)(?:@.*)?", re.ASCII)


class Licence(NamedTuple):
    """The fields license and license_name."""

    license: str
    name: str | None = None


def metadata(report: Report, part: Report) -> ModelCardData:
    """The card's head. `part` is what of the report is in the candidate; nothing that the report does not know."""
    bases = [match[1] for entry in part["bases"] if (match := _HUB.fullmatch(str(entry["facts"].get("source"))))]
    data = [str(hub) for entry in part["data"] if (hub := entry["settings"].get("source", {}).get("hub"))]
    results = list(eval_results(report))
    kind, stated = relation(part), licence(licences(report, part))
    return ModelCardData(
        model_name=report["recipe"],
        license=stated.license,
        license_name=stated.name,
        base_model=(bases[0] if len(bases) == 1 else bases) or None,
        base_model_relation=(kind or None) if bases else None,
        datasets=list(dict.fromkeys(data)) or None,
        library_name="peft" if kind == "adapter" else "transformers",
        pipeline_tag="text-generation",
        tags=["burnish", *(["merge"] if kind == "merge" else [])],
        eval_results=results or None,
    )


def licences(report: Report, part: Report) -> list[str | None]:
    """What the exported weights, else the bases, state about their licence; None where one states nothing."""
    whole = [entry for entry in report["exports"] if entry["facts"].get("level") is None]
    entries = whole or part["bases"]
    return list(dict.fromkeys(entry["facts"].get("licence") for entry in entries)) or [None]


def licence(stated: list[str | None]) -> Licence:
    """A licence, or several, as the Hub names them: one that it does not list is `other` with its name."""
    if None in stated:
        return Licence(UNKNOWN)
    known = [str(name).lower() for name in stated]
    if len(known) == 1 and known[0] in LICENCES:
        return Licence(known[0])
    return Licence(OTHER, re.sub(r"[^a-z0-9.+-]+", "-", "-and-".join(known)))


def eval_results(report: Report) -> Iterator[EvalResult]:
    """The candidate's scores in the suites that gates judge, else in all; how far it drifted is no result on data."""
    judged = {gate["suite"] for gate in report["gates"]} or set(report["suites"])
    seen: set[str] = set()
    for title, suite in report["suites"].items():
        for row in suite["rows"] if title in judged else ():
            value, n = row["values"].get(report["candidate"]), row["n"].get(report["candidate"], 0)
            if value is not None and not too_few(n, None) and row["group"] != DRIFT and row["name"] not in seen:
                seen.add(row["name"])
                yield _result(title, suite, row, float(value), report["candidate"])


def _result(title: str, suite: Mapping[str, Any], row: Mapping[str, Any], value: float, model: str) -> EvalResult:
    measurement, _, metric = row["name"].rpartition("/")
    shots = suite["contract"]["same"].get(f"{measurement}.shots")
    return EvalResult(
        task_type="text-generation",
        dataset_type=measurement,
        dataset_name=measurement,
        dataset_args={"suite": title, "documents": row["n"][model], "num_few_shot": shots},
        metric_type=metric,
        metric_name=metric,
        metric_value=value,
    )
