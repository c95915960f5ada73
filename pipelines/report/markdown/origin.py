"""Where the numbers come from, whether they may be compared, how to make them again, and what they cannot say."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.report.data.collect import Report
from pipelines.report.data.forgetting import GENERAL
from pipelines.report.data.measures import flatten
from pipelines.report.markdown.blocks import bullets, fenced, folded, section, table
from pipelines.report.markdown.facts import notes, shown
from pipelines.report.numbers import SHARE, count, distance
from pipelines.report.text import clean, name, prose

_FEW = 100
_FEW_CLUSTERS = 20
_COUNTS = ("empty", "cut")


def comparability(report: Report) -> str:
    """A tick for everything that scores must share to be compared, what differs, and what may differ and does."""
    return section("Comparability", *(block for title in report["suites"] for block in _conditions(report, title)))


def _conditions(report: Report, title: str) -> Iterator[str]:
    suite = report["suites"][title]
    same, differs, told = (suite["contract"][key] for key in ("same", "differs", "told"))
    if len(suite["models"]) > 1:
        yield f"Suite {name(title)}: {f'{len(differs)} conditions differ' if differs else 'all conditions agree'}."
    rows = [["differs", name(key), _by_model(values)] for key, values in differs.items()]
    rows += [["may differ", name(key), _by_model(values)] for key, values in told.items()]
    rows += [["\u2713", *cells] for cells in _shared(same)]
    rows += [["\u2713", name(f"{key}.generation"), item] for key, item in _generated(suite)]
    if rows:
        yield folded(f"Conditions of suite {title}", table(["", "condition", "value"], rows, left=3))


def _generated(suite: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The settings that answers were generated with, which are the first model's where models differ in none."""
    for measurement, models in suite["generation"].items():
        settings = [{key: item for key, item in told.items() if key not in _COUNTS} for told in models.values()]
        yield measurement, "; ".join(dict.fromkeys(_settings(found) for found in settings))


def _settings(found: Mapping[str, Any]) -> str:
    return ", ".join(f"{prose(key)} {shown(item)}" for key, item in found.items())


def _shared(same: Mapping[str, Any]) -> Iterator[list[str]]:
    """A row a condition; one on which several measurements agree is said once."""
    values: dict[str, list[str]] = {}
    for key, item in same.items():
        values.setdefault(key.partition(".")[2], []).append(shown(item))
    said = set()
    for key, item in same.items():
        condition = key.partition(".")[2]
        agreed = len(values[condition]) > 1 and len(set(values[condition])) == 1
        label = condition if agreed else key
        if label not in said:
            yield [name(label), shown(item)]
        said.add(label)


def provenance(report: Report) -> str:
    """The base and its notes, and the key of every artifact."""
    bases = bullets(_base(entry) for entry in report["bases"])
    rows = [[name(item["id"]), name(item["kind"]), f"`{item['key'][:12]}`"] for item in report["artifacts"]]
    listed = folded("Artifacts and their keys", table(["artifact", "kind", "key"], rows, left=3)) if rows else ""
    return section("Provenance", f"Recipe {name(report['recipe'])}.", bases, notes(report["bases"]), listed)


def reproduce(report: Report) -> str:
    """The one command."""
    return section("Reproduce", fenced(clean(report["command"], 4000), "sh"))


def limits(report: Report) -> str:
    """What this report cannot say."""
    return section("Limits", bullets(_limits(report)))


def _by_model(values: Mapping[str, Any]) -> str:
    return "; ".join(f"{name(model)} {shown(item)}" for model, item in values.items())


def _base(entry: Mapping[str, Any]) -> str:
    told = {key: item for key, item in flatten(entry["facts"]) if key != "notes" and item not in (None, [], {})}
    return f"{name(entry['id'])}: " + ", ".join(f"{prose(key)} {shown(item)}" for key, item in told.items())


def _limits(report: Report) -> Iterator[str]:
    if not report["gates"]:
        yield "No gate judged anything: this report does not say that the weights may ship."
    for gate in report["gates"]:
        yield from _limits_of_gate(gate)
    for title, suite in report["suites"].items():
        yield from _limits_of_suite(title, suite)
    if not report["suites"]:
        yield "No model was measured."
    if report["training"] and not any(gate["over_seeds"] for gate in report["gates"]):
        yield "Intervals are over documents. What another training seed would change is not in them."


def _limits_of_gate(gate: Mapping[str, Any]) -> Iterator[str]:
    title, mde, threshold, unit = name(gate["name"]), gate["mde"], gate["threshold"], gate["unit"]
    if gate["rule"] in ("no_regression", "drift") and None not in (mde, threshold) and mde > abs(threshold):
        asked, seen = distance(threshold, unit), distance(mde, unit)
        needed = f"; about {count(gate['needed'])} documents are needed" if gate["needed"] else ""
        yield f"The gate on {title} asks about {asked}, and its documents show no less than {seen}{needed}."
    if gate["clusters"] and gate["clusters"] < _FEW_CLUSTERS:
        yield f"The gate on {title} has only {gate['clusters']} clusters of documents to go by."


def _limits_of_suite(title: str, suite: Mapping[str, Any]) -> Iterator[str]:
    few = [row["name"] for row in suite["rows"] if row["unit"] == SHARE and min(row["n"].values()) < _FEW]
    if few:
        yield f"Suite {name(title)} has fewer than {_FEW} documents for {', '.join(map(name, few))}."
    general = [row for row in suite["rows"] if row["group"] == GENERAL]
    unknown = [row["name"] for row in general if row["retention"] and None in row["retention"].values()]
    if unknown:
        yield f"On {', '.join(map(name, unknown))} ({name(title)}) the base is too near to chance to say what was kept."
    if suite["contract"]["differs"]:
        yield f"Suite {name(title)} was not measured under the same conditions for all models; see Comparability."
    for note in suite["notes"]:
        yield f"Suite {name(title)}, model {name(note['model'])}: {prose(note['note'])}"
