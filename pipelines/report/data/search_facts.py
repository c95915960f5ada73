"""Searches as data: what each found, and how much of the winner's gain another suite confirms."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines.engine.stage import Artifact
from pipelines.report.data.portable import steady
from pipelines.report.numbers import unit_of

FACTS = (
    "by", "suite", "objective", "subject_to", "trials", "best", "winner", "pareto", "base", "search_notes",
)  # fmt: skip
"""What a search adds to the metrics of the merge that it ends with."""


def is_search(artifact: Artifact) -> bool:
    return artifact.metrics.keys() >= set(FACTS)


def without_search(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of the merge alone."""
    return {key: value for key, value in facts.items() if key not in FACTS}


Documents = Mapping[tuple[str, str], Sequence[str]]
"""What the base was measured on: hashes of documents by suite and measurement."""


def searches(made: Mapping[str, Artifact], suites: Mapping[str, Any], documents: Documents) -> list[dict[str, Any]]:
    """Every search with the gains of its winner over the base, by suite; no picture is drawn yet."""
    found = []
    for ref, artifact in made.items():
        if is_search(artifact):
            facts = steady({key: artifact.metrics[key] for key in FACTS})
            gains = list(_gains(facts, suites, _names(ref, made), documents))
            found.append({"id": ref, "facts": facts, "gains": gains, "picture": ""})
    return found


def metric_of(facts: Mapping[str, Any]) -> str:
    """The score that the search was for."""
    return str(next(iter(facts["objective"].values())))


def _names(ref: str, made: Mapping[str, Artifact]) -> set[str]:
    """The names under which the winner is measured: its own, and that of a selection that picked it."""
    picked = {other for other, item in made.items() if item.metrics.get("picked") in (ref, ref.partition(".")[2])}
    return {one.partition(".")[2] for one in (ref, *picked)}


def _gains(
    facts: Mapping[str, Any], suites: Mapping[str, Any], names: set[str], documents: Documents
) -> Iterator[dict[str, Any]]:
    """The winner against the base on the suite that was searched on, then on every other that measured both.

    `seen` counts the documents of a suite that the search was on as well.
    """
    metric = metric_of(facts)
    score = facts["base"]["scores"][metric]
    sign = -1 if score["lower_is_better"] else 1

    measurement = metric.rpartition("/")[0]
    searched = set(documents.get((facts["suite"], measurement), ()))

    def gain(suite: str, base: float, winner: float, n: int) -> dict[str, Any]:
        seen = sum(document in searched for document in documents.get((suite, measurement), ()))
        told = {"suite": suite, "name": metric, "n": n, "seen": seen, "base": base, "winner": winner}
        return told | {"gain": sign * (winner - base), "unit": unit_of(metric.rpartition("/")[2], [base, winner])}

    yield gain(facts["suite"], score["value"], facts["trials"][facts["best"]]["scores"][metric], score["n"])
    for title, suite in suites.items():
        rows = [row for row in suite["rows"] if row["name"] == metric and "base" in row["values"]]
        if title == facts["suite"] or not rows:
            continue
        measured = [model for model in suite["models"] if model in names and model in rows[0]["values"]]
        for model in measured[:1]:
            yield gain(title, rows[0]["values"]["base"], rows[0]["values"][model], rows[0]["n"][model])
