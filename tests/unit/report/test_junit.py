"""Gates as JUnit XML that build servers can read, whatever the gates are called."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from pipelines.report.ci.junit import junit
from tests.unit.report.fixture import NASTY
from tests.unit.report.reports import gate, report_of

COUNTS = ("tests", "failures", "errors", "skipped")
INSIDE = {"testsuites": {"testsuite"}, "testsuite": {"properties", "testcase"}, "properties": {"property"},
          "testcase": {"properties", "skipped", "failure", "system-out"}}  # fmt: skip
REQUIRED = {"testsuites": {"name", *COUNTS}, "testsuite": {"name", *COUNTS}, "testcase": {"name", "classname"},
            "property": {"name", "value"}, "failure": {"message", "type"}, "skipped": {"message"}}  # fmt: skip


def parsed(report: dict[str, Any]) -> ET.Element:
    return ET.fromstring(junit(report).encode())


def case(report: dict[str, Any]) -> ET.Element:
    (found,) = parsed(report).iter("testcase")
    return found


@pytest.mark.parametrize("verdict", [True, False])
def test_junit_elements_stand_where_they_may_with_what_they_must_have(tmp_path: Path, verdict: bool) -> None:
    changes: dict[str, Any] = {} if verdict else {"verdict": None, "gates": []}
    root = parsed(report_of(tmp_path, **changes))
    assert root.tag == "testsuites"
    for element in root.iter():
        assert {child.tag for child in element} <= INSIDE.get(element.tag, set())
        assert REQUIRED.get(element.tag, set()) <= element.attrib.keys()
        assert not [key for key in element.attrib if key in ("timestamp", "hostname", "time")]


def test_junit_counts_are_those_of_the_cases(tmp_path: Path) -> None:
    gates = [gate(), gate("FAIL"), gate("INCONCLUSIVE"), gate(suite="dev")]
    root = parsed(report_of(tmp_path, gates))
    assert [root.get(key) for key in COUNTS] == ["4", "1", "0", "1"]
    assert [[suite.get(key) for key in COUNTS] for suite in root] == [["3", "1", "0", "1"], ["1", "0", "0", "0"]]
    assert [suite.get("name") for suite in root] == ["test", "dev"]


def test_junit_of_a_gate_that_failed_is_a_failure_with_its_sentence(tmp_path: Path) -> None:
    found = case(report_of(tmp_path, [gate("FAIL", says="It fell by 9 points.")]))
    (failure,) = found.findall("failure")
    assert (failure.get("type"), failure.get("message"), failure.text) == ("FAIL", *["It fell by 9 points."] * 2)


@pytest.mark.parametrize(("blocks", "tag"), [(False, "skipped"), (True, "failure")])
def test_junit_of_a_gate_that_cannot_say_follows_its_policy(tmp_path: Path, blocks: bool, tag: str) -> None:
    verdict = {"verdict": "INCONCLUSIVE", "blocks": blocks, "candidate": "best"}
    found = case(report_of(tmp_path, [gate("INCONCLUSIVE")], verdict=verdict))
    assert [child.tag for child in found] == ["properties", tag]


def test_junit_properties_are_the_gates_numbers_and_leave_out_what_there_is_not(tmp_path: Path) -> None:
    found = case(report_of(tmp_path, [gate(p_holm=None, base=0.1 + 0.2)]))
    properties = {item.get("name"): item.get("value") for item in found.iter("property")}
    assert properties == {
        "rule": "improve", "threshold": "0.05", "unit": "share", "base": "0.30000000000000004", "candidate": "0.38",
        "delta": "0.35", "alpha": "0.05", "n": "100", "mde": "0.08", "interval": "[0.26, 0.44]",
    }  # fmt: skip
    assert (found.get("classname"), found.get("name")) == ("test", "tickets/exact_match improve by 5.0 pp")


def test_junit_of_hostile_text_is_valid_and_holds_no_control_character(tmp_path: Path) -> None:
    says = NASTY + "\x00\x0b\ufffe\ud800]]><!-- \U0001f600 &amp; \"'"
    text = junit(report_of(tmp_path, [gate("FAIL", says=says, name="a<b>&\x1b[2J/acc")]))
    failure = next(ET.fromstring(text.encode()).iter("failure"))
    assert not [sign for sign in text if (sign < " " and sign != "\n") or sign in "\ufffe\ud800"]
    assert (failure.text or "").endswith("]]><!-- \U0001f600 &amp; \"'")


def test_junit_of_a_recipe_without_gates_is_skipped_not_passed(tmp_path: Path) -> None:
    root = parsed(report_of(tmp_path, verdict=None, gates=[]))
    assert [root.get(key) for key in COUNTS] == ["1", "0", "0", "1"]


def test_junit_of_the_same_report_is_the_same_text(tmp_path: Path) -> None:
    assert junit(report_of(tmp_path / "a")) == junit(report_of(tmp_path / "b"))
