"""Generations of one model: what each brought, transfer, forgetting, and what was not measured."""

import copy
from pathlib import Path
from typing import Any

import pytest

from pipelines.report.compare.chain import chain
from pipelines.report.compare.chain_page import generations
from tests.unit.report.reports import report_of

NAMES = ["one", "two", "three"]
TASKS = ["a/acc", "b/acc", "c/acc"]
BASE = [0.1, 0.2, 0.3]
TABLE = [[0.8, 0.25, None], [0.7, 0.9, 0.4], [0.6, 0.85, 0.95]]


def generation(folder: Path, scores: dict[str, tuple[float, float | None]], group: str = "target") -> dict[str, Any]:
    """A report of a suite with these scores of base and candidate."""
    report = report_of(folder)
    known = next(row for row in report["suites"]["test"]["rows"] if row["name"] == "facts/acc")
    rows = []
    for name, (base, candidate) in scores.items():
        values = {"base": base} | ({"best": candidate} if candidate is not None else {})
        rows.append(known | {"name": name, "group": group, "values": values})
    same = {f"{name.partition('/')[0]}.documents": "d" for name in scores}
    suite = report["suites"]["test"] | {"rows": rows, "contract": {"same": same, "differs": {}, "told": {}}}
    return report | {"suites": {"test": suite}}


def reports(folder: Path, table: list[list[float | None]] = TABLE) -> list[dict[str, Any]]:
    """A generation a row of the table; what is None there was not measured."""
    return [
        generation(folder / str(t), {TASKS[i]: (BASE[i], value) for i, value in enumerate(row) if value is not None})
        for t, row in enumerate(table)
    ]


@pytest.fixture
def line(tmp_path: Path) -> list[dict[str, Any]]:
    """Three generations, each of which brings a task and measures those before; the first two are also seen early."""
    early = reports(tmp_path)
    for t, i in ((0, 1), (1, 2)):
        (row,) = (row for row in early[t]["suites"]["test"]["rows"] if row["name"] == TASKS[i])
        row["group"] = "ahead"
    return early


def test_chain_has_the_table_and_its_measures(line: list[dict[str, Any]]) -> None:
    (told,) = chain(NAMES, line)["tables"]
    assert told["tasks"] == [[f"test: {task}"] for task in TASKS]
    assert (told["rows"], told["base"]) == (TABLE, BASE)
    assert told["accuracy"] == pytest.approx((0.6 + 0.85 + 0.95) / 3)
    assert told["backward_transfer"] == pytest.approx(((0.6 - 0.8) + (0.85 - 0.9)) / 2)
    assert told["forward_transfer"] == pytest.approx(((0.25 - 0.2) + (0.4 - 0.3)) / 2)
    assert told["average_forgetting"] == pytest.approx(((0.8 - 0.6) + (0.9 - 0.85)) / 2)


def test_chain_of_a_score_of_which_less_is_better_turns_the_signs_of_transfer(tmp_path: Path) -> None:
    worse = [generation(tmp_path / str(t), {"a/bits": (2.0, value)}) for t, value in enumerate([1.0, 1.4])]
    for report in worse:
        report["suites"]["test"]["rows"][0] |= {"lower_is_better": True, "unit": "bits per byte"}
    (told,) = chain(NAMES[:2], worse)["tables"]
    assert (told["accuracy"], told["rows"]) == (pytest.approx(1.4), [[1.0, None], [1.4, None]])
    assert told["backward_transfer"] == pytest.approx(-0.4) and told["average_forgetting"] == pytest.approx(0.4)


def test_chain_leaves_out_what_was_measured_otherwise_and_says_so(line: list[dict[str, Any]]) -> None:
    line[2]["suites"]["test"]["contract"]["same"]["a.documents"] = "other"
    found = chain(NAMES, line)
    assert found["tables"][0]["rows"][2] == [None, 0.85, 0.95]
    assert "three measured a/acc (suite test) otherwise than one: documents differs (d and other)." in found["missing"]
    assert "one did not measure c/acc (suite test) of three." in found["missing"]


def test_chain_of_one_task_trained_again_has_no_forward_transfer(tmp_path: Path) -> None:
    again = [generation(tmp_path / str(t), {"a/acc": (0.1, value)}) for t, value in enumerate([0.5, 0.7, 0.6])]
    found = chain(NAMES, again)
    (told,) = found["tables"]
    assert told["forward_transfer"] is None and told["backward_transfer"] == pytest.approx(0.1)
    assert told["average_forgetting"] == pytest.approx(0.1)
    assert "two brought no target score that was not there before: it has no column." in found["missing"]
    text = generations(found, NAMES)
    assert "forward transfer (FWT), what earlier generations did to later tasks: not measured" in text
    assert "| two | 70.0 % |" in text


def test_chain_from_another_base_takes_the_first_ones_numbers(line: list[dict[str, Any]]) -> None:
    line[1] = copy.deepcopy(line[1])
    (base,) = (item for item in line[1]["artifacts"] if item["id"] == "base")
    base["key"] = "9" * 64
    line[0]["suites"]["test"]["rows"][1]["values"]["base"] = 0.15
    found = chain(NAMES, line)
    assert found["other_base"] == ["two"]
    assert found["tables"][0]["base"] == [0.1, 0.15, 0.3]
    assert "`two` started from another one" in generations(found, NAMES)


def test_chain_general_ability_is_against_the_first_base(tmp_path: Path) -> None:
    chain_ = [
        generation(tmp_path / str(t), {"g/acc": (0.5, one), "h/acc": (0.6, two)}, "general")
        for t, (one, two) in enumerate([(0.45, 0.6), (0.4, None), (0.5, 0.7)])
    ]
    found = chain(NAMES, chain_)
    (told,) = found["general"]
    assert told["deltas"] == [pytest.approx(-0.025), pytest.approx(-0.1), pytest.approx(0.05)]
    assert told["measured"] == [2, 1, 2]
    text = generations(found, NAMES)
    assert "| two | -10.0 pp (1 of 2 scores) |" in text
    assert "No generation has a target score" in text
