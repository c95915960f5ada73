"""What got worse without a gate is said beside the verdict."""

from pathlib import Path

import pytest

from pipelines.report.ci.annotations import annotations
from pipelines.report.data.collect import Report
from pipelines.report.data.unwatched import unwatched
from pipelines.report.html.page import page
from pipelines.report.markdown.judged import verdict
from tests.unit.report.reports import report_of


@pytest.fixture
def report(tmp_path: Path) -> Report:
    return report_of(tmp_path)


def test_loss_that_no_gate_asks_about_is_told_wherever_the_verdict_is(report: Report) -> None:
    gated = unwatched(report)
    report["gates"] = [gate for gate in report["gates"] if gate["name"] == "tickets/exact_match"]
    found = [one["name"] for one in unwatched(report)]
    assert "pydoc/bits_per_byte" not in [one["name"] for one in gated]
    assert "pydoc/bits_per_byte" in found and "tickets/exact_match" not in found
    assert "no gate asks about it: " in verdict(report) and "`pydoc/bits_per_byte` +" in verdict(report)
    assert "no gate asks about it" in page(report)
    assert "::warning title=Worse%2C and no gate asks about it::" in annotations(report)


def test_distances_to_the_base_are_no_losses(report: Report) -> None:
    report["gates"] = []
    assert not {"chats/kl", "chats/agreement"} & {one["name"] for one in unwatched(report)}


def test_interval_that_holds_no_change_is_no_loss(report: Report) -> None:
    report["gates"] = []
    report["suites"]["test"]["estimates"]["pydoc/bits_per_byte"]["best"] |= {"low": -0.1, "high": 0.1}
    assert "pydoc/bits_per_byte" not in [one["name"] for one in unwatched(report)]
