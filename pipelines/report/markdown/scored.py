"""The section of scores: a table a suite, every model a column, and the candidate's difference as a picture."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.report.data.collect import Report
from pipelines.report.data.measures import BASE
from pipelines.report.markdown.blocks import bullets, folded, section, table
from pipelines.report.markdown.charts import forest
from pipelines.report.numbers import ABSENT, SHARE, count, difference, distance, interval, level, probability, value
from pipelines.report.text import name, prose

LOWER = "\u2193"

Row = Mapping[str, Any]


def scores(report: Report, rest: bool = True) -> str:
    """Every score of every model, suite by suite; without the `rest` only the candidate is compared with the base."""
    tables = [_suite(report, title) for title in report["suites"]]
    every = [_every(title, suite) for title, suite in report["suites"].items()] if rest else []
    written = [line for title, suite in report["suites"].items() for line in _written(title, suite)]
    return section("Scores", *tables, " ".join(_legend(report)), bullets(written), *every)


def direction(row: Row) -> str:
    """The sign behind the name of a score that is better when it is lower."""
    return f" {LOWER}" if row["lower_is_better"] else ""


def _legend(report: Report) -> Iterator[str]:
    suites = report["suites"].values()
    if any(_compares(report, suite) for suite in suites):
        yield f"Difference: {name(report['candidate'])} less base, on the same documents; the line is its interval."
    if any(row["lower_is_better"] for suite in suites for row in suite["rows"]):
        yield f"{LOWER} lower is better."


def _compares(report: Report, suite: Mapping[str, Any]) -> bool:
    return report["candidate"] != BASE and {BASE, report["candidate"]} <= set(suite["models"])


def _suite(report: Report, title: str) -> str:
    suite = report["suites"][title]
    heads = [name(model) for model in suite["models"]]
    rows = [[value(row["values"].get(model), row["unit"]) for model in suite["models"]] for row in suite["rows"]]
    if _compares(report, suite):
        heads[2:2] = ["difference", level(suite["alpha"]), "change"]
        seen = {row["name"]: suite["estimates"][row["name"]].get(report["candidate"], {}) for row in suite["rows"]}
        reach = _reach(suite["rows"], seen)
        for cells, row in zip(rows, suite["rows"], strict=True):
            cells[2:2] = _change(row, seen[row["name"]], reach)
    return table(
        [f"suite {name(title)}", "group", "n", *heads],
        [[*_names(row), *cells] for row, cells in zip(suite["rows"], rows, strict=True)],
        left=2,
    )


def _names(row: Row) -> list[str]:
    numbers = " / ".join(dict.fromkeys(count(n) for n in row["n"].values()))
    chance = f" (chance {value(row['chance'], SHARE)})" if row["chance"] else ""
    return [name(row["name"]) + direction(row) + chance, name(row["group"]), numbers]


def _change(row: Row, seen: Mapping[str, Any], reach: Mapping[str, float]) -> list[str]:
    """The difference, its interval and its picture; instead of the picture the reason why there is none."""
    if "delta" not in seen:
        return [ABSENT, ABSENT, prose(seen["differs"], 60) if seen else ABSENT]
    unit = row["unit"]
    picture = forest(seen["delta"], seen["low"], seen["high"], reach[unit])
    return [difference(seen["delta"], unit), interval(seen["low"], seen["high"], unit), f"`{picture}`"]


def _reach(rows: list[Row], seen: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """By unit the largest difference or bound: all pictures of a unit share one scale."""
    reach: dict[str, float] = {}
    for row in rows:
        bounds = (seen[row["name"]].get(key) for key in ("delta", "low", "high"))
        sizes = [abs(number) for number in bounds if number is not None]
        reach[row["unit"]] = max([reach.get(row["unit"], 0.0), *sizes])
    return reach


def _every(title: str, suite: Mapping[str, Any]) -> str:
    """Every model against the base with the numbers behind the picture, behind a fold."""
    heads = ["score", "model", "difference", level(suite["alpha"]), "p", "MDE", "n", "retention", "by"]
    rows = [
        [name(row["name"]), name(model), *_numbers(row, model, seen)]
        for row in suite["rows"]
        for model, seen in suite["estimates"].get(row["name"], {}).items()
    ]
    told = (
        "p as it is, not adjusted for the number of scores: only gates judge. Retention: what is left of the base's "
        "score above chance, at most 120 %; not said where the base is within 3 standard errors of chance."
    )
    return folded(f"Suite {title}: every model against the base", table(heads, rows, left=2), told) if rows else ""


def _numbers(row: Row, model: str, seen: Mapping[str, Any]) -> list[str]:
    if "delta" not in seen:
        return [*[ABSENT] * 6, prose(seen["differs"], 200)]
    unit = row["unit"]
    clusters = f" ({count(seen['clusters'])} clusters)" if seen["clusters"] else ""
    return [
        difference(seen["delta"], unit),
        interval(seen["low"], seen["high"], unit),
        probability(seen["p"]),
        distance(seen["mde"], unit),
        f"{count(seen['n'])}{clusters}",
        value(row["retention"].get(model), SHARE),
        prose(seen["method"]),
    ]


def _written(title: str, suite: Mapping[str, Any]) -> Iterator[str]:
    """Answers that say little of ability: the empty ones and those that never ended."""
    for measurement, models in suite["generation"].items():
        for model, told in models.items():
            said = [f"{count(told['empty'])} empty"] if told["empty"] else []
            if told["cut"]:
                said.append(f"{count(told['cut'])} cut at {count(told.get('max_gen_toks'))} tokens before they ended")
            if said:
                yield f"{name(measurement)} ({name(title)}), answers of {name(model)}: {', '.join(said)}."
