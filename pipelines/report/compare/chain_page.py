"""A chain of generations as Markdown: the table of scores, transfer and forgetting, and what was not measured."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines.report.markdown.blocks import bullets, section, table
from pipelines.report.numbers import difference, value
from pipelines.report.text import name, prose

NOT_MEASURED = "not measured"
_MEASURES = (
    ("average forgetting (Chaudhry et al. 2018), below its best", "average_forgetting"),
    ("backward transfer (BWT), what later generations did to earlier tasks", "backward_transfer"),
    ("forward transfer (FWT), what earlier generations did to later tasks", "forward_transfer"),
)
_SIGNS = "Transfer above 0 is good, forgetting above 0 is bad, whichever way the score goes."


def generations(chain: Mapping[str, Any], runs: Sequence[str]) -> str:
    """The section of a chain; `runs` are the names of its generations, the oldest first."""
    tables = [block for told in chain["tables"] for block in (_table(told, runs), bullets(_measures(told)))]
    if not chain["tables"]:
        tables = ["No generation has a target score, so there is nothing to transfer or forget."]
    notes = [prose(line) for line in chain["missing"]]
    if chain["other_base"]:
        others = ", ".join(map(name, chain["other_base"]))
        notes.append(f"Differences to the base are to that of {runs[0]}; {others} started from another one.")
    return section("Generations", *tables, _SIGNS, _general(chain, runs), bullets(notes))


def _table(told: Mapping[str, Any], runs: Sequence[str]) -> str:
    """Rows are generations, columns the tasks in the order in which they came."""
    columns = [i for i, task in enumerate(told["tasks"]) if task]
    lower = " \u2193" if told["lower_is_better"] else ""
    heads = [f"{', '.join(map(name, told['tasks'][i]))}{lower}, of {runs[i]}" for i in columns]
    rows = [["base", *(_cell(told["base"][i], told["unit"]) for i in columns)]]
    rows += [
        [run, *(_cell(row[i], told["unit"]) for i in columns)] for run, row in zip(runs, told["rows"], strict=True)
    ]
    return table(["generation", *heads], rows)


def _measures(told: Mapping[str, Any]) -> Iterator[str]:
    yield f"average score of the last generation (ACC): {_cell(told['accuracy'], told['unit'])}"
    for label, key in _MEASURES:
        number = told[key]
        yield f"{label}: {NOT_MEASURED if number is None else difference(number, told['unit'])}"


def _general(chain: Mapping[str, Any], runs: Sequence[str]) -> str:
    if not chain["general"]:
        return "General ability was not measured by the first generation."
    heads = [f"{', '.join(map(name, told['scores']))}{_way(told)}" for told in chain["general"]]
    rows = [[run, *(_delta(told, t) for told in chain["general"])] for t, run in enumerate(runs)]
    return table(["general ability less the base's, mean", *heads], rows)


def _way(told: Mapping[str, Any]) -> str:
    return " \u2193" if told["lower_is_better"] else ""


def _delta(told: Mapping[str, Any], t: int) -> str:
    number, measured, wanted = told["deltas"][t], told["measured"][t], len(told["scores"])
    if number is None:
        return NOT_MEASURED
    return difference(number, told["unit"]) + (f" ({measured} of {wanted} scores)" if measured < wanted else "")


def _cell(number: float | None, unit: str) -> str:
    return NOT_MEASURED if number is None else value(number, unit)
