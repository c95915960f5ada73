"""Scores of several models side by side, by score and by group, and whether they may be compared."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pipelines.report.numbers import NUMBER, SHARE, unit_of
from pipelines.stats.forgetting import retention

BASE = "base"
RATIO = "ratio"
TOLD = ("tokenizer",)
"""Conditions that are told where they differ but do not forbid a comparison."""

Scores = Mapping[str, Mapping[str, Any]]
"""Model to what its scores.json holds."""


def measures(models: Scores) -> list[dict[str, Any]]:
    """A row a score: its name, group, unit and direction, and by model its value, number of documents and error."""
    names = dict.fromkeys(name for found in models.values() for name in found["scores"])
    return [
        _row(name, {model: f["scores"][name] for model, f in models.items() if name in f["scores"]}) for name in names
    ]


def _row(name: str, scores: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    first = next(iter(scores.values()))
    values = {model: score["value"] for model, score in scores.items()}
    unit = unit_of(name.rpartition("/")[2], [value for value in values.values() if value is not None])
    share = unit == SHARE and first["kind"] != RATIO and not first["lower_is_better"]
    return {
        "name": name,
        "group": first["group"],
        "kind": first["kind"],
        "unit": unit,
        "lower_is_better": first["lower_is_better"],
        "n": {model: score["n"] for model, score in scores.items()},
        "values": values,
        "stderr": {model: score["stderr"] for model, score in scores.items()},
        "chance": first["chance"],
        "retention": _retentions(scores) if share else {},
    }


def _retentions(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
    """What each model kept of the base's ability above guessing; without a known chance level, above nothing at all."""
    base = scores.get(BASE)
    if base is None or None in (base["value"], base["stderr"]):
        return {}
    chance = base["chance"] or 0.0
    return {
        model: retention(base["value"], score["value"], chance, base["stderr"])
        for model, score in scores.items()
        if model != BASE and score["value"] is not None
    }


def common_unit(suites: Mapping[str, Any], chosen: Callable[[Mapping[str, Any]], bool]) -> str:
    """The unit that the chosen scores of the suites share; plain numbers where they share none."""
    units = {row["unit"] for suite in suites.values() for row in suite["rows"] if chosen(row)}
    return str(units.pop()) if len(units) == 1 else NUMBER


def contract(models: Scores) -> dict[str, dict[str, Any]]:
    """What has to agree between scores that are compared: what does, and by model what does not.

    `told` has by model the conditions that differ without forbidding a comparison.
    """
    flat = {model: dict(flatten(found["contract"])) for model, found in models.items()}
    keys = dict.fromkeys(key for found in flat.values() for key in found)
    sorted_out: dict[str, dict[str, Any]] = {"same": {}, "differs": {}, "told": {}}
    for key in keys:
        values = {model: found.get(key) for model, found in flat.items()}
        first = next(iter(values.values()))
        if all(value == first for value in values.values()):
            sorted_out["same"][key] = first
        else:
            sorted_out["told" if key.rpartition(".")[2] in TOLD else "differs"][key] = values
    return sorted_out


def flatten(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested mappings by dotted path. A list is a leaf, but for a list of mappings."""
    if isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        value = dict(enumerate(value))
    if not isinstance(value, Mapping):
        yield path, value
        return
    for key, item in value.items():
        yield from flatten(item, f"{path}.{key}" if path else str(key))


def group_means(suite: Mapping[str, Any]) -> list[dict[str, Any]]:
    """By group, unit and direction of a suite's scores: each model's mean over the scores that all models have.

    The differences to the base of a target group and of a general group are skill gained and ability kept
    (TRACE, arXiv 2310.06762, calls the latter general ability delta).
    """
    grouped: dict[tuple[str, str, bool], list[Mapping[str, Any]]] = {}
    for row in suite["rows"]:
        if all(row["values"].get(model) is not None for model in suite["models"]):
            grouped.setdefault((row["group"], row["unit"], row["lower_is_better"]), []).append(row)
    return [
        {
            "group": group,
            "unit": unit,
            "lower_is_better": lower,
            "scores": len(rows),
            "names": [row["name"] for row in rows],
            "means": {m: sum(row["values"][m] for row in rows) / len(rows) for m in suite["models"]},
        }
        for (group, unit, lower), rows in grouped.items()
    ]
