"""The gates as JUnit XML, for the test tabs of build servers: a suite is a test suite, a gate a test case."""

import json
import re
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET

from pipelines.report.ci.outcomes import outcome, title
from pipelines.report.data.collect import Report
from pipelines.report.text import clean

PROPERTIES = ("rule", "threshold", "unit", "base", "candidate", "delta", "p_holm", "alpha", "n", "mde", "needed")
_LONGEST = 2000
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 (section 2.2) cannot hold, not even as a reference."""


def junit(report: Report) -> str:
    """The document. A gate that failed is a failure; one that cannot say is skipped, or fails where it blocks.

    Says nothing of times and hosts: the same report is the same bytes.
    """
    root = ET.Element("testsuites", name=_text(f"burnish {report['recipe']}"))
    for name in dict.fromkeys(gate["suite"] for gate in report["gates"]):
        _add_suite(root, name, report)
    if not report["gates"]:
        suite = ET.SubElement(root, "testsuite", name=_text(report["recipe"]))
        case = ET.SubElement(suite, "testcase", classname=_text(report["recipe"]), name="gates")
        ET.SubElement(case, "skipped", message="The recipe has no gates: nothing was judged.")
        _count(suite)
    _sum_up(root)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _add_suite(root: ET.Element, name: str, report: Report) -> None:
    suite = ET.SubElement(root, "testsuite", name=_text(name))
    about = {"recipe": report["recipe"], "candidate": report["candidate"], "verdict": report["verdict"]["verdict"]}
    _add_properties(suite, about)
    for gate in report["gates"]:
        if gate["suite"] == name:
            _add_case(suite, report, gate)
    _count(suite)


def _add_case(suite: ET.Element, report: Report, gate: Mapping[str, Any]) -> None:
    case = ET.SubElement(suite, "testcase", classname=_text(gate["suite"]), name=_text(title(gate)))
    bounds = None if None in (gate["low"], gate["high"]) else f"[{gate['low']}, {gate['high']}]"
    _add_properties(case, {key: gate[key] for key in PROPERTIES} | {"interval": bounds})
    says = _text(gate["says"])
    match outcome(report, gate):
        case "failed":
            ET.SubElement(case, "failure", type=gate["verdict"], message=says).text = says
        case "unclear":
            ET.SubElement(case, "skipped", message=says)
        case "passed":
            ET.SubElement(case, "system-out").text = says


def _add_properties(element: ET.Element, values: Mapping[str, Any]) -> None:
    properties = ET.SubElement(element, "properties")
    for key, item in values.items():
        if item is not None:
            written = item if isinstance(item, str) else json.dumps(item)
            ET.SubElement(properties, "property", name=key, value=_text(written))


def _count(suite: ET.Element) -> None:
    cases = suite.findall("testcase")
    found = {tag: sum(case.find(tag) is not None for case in cases) for tag in ("failure", "skipped")}
    suite.attrib |= {"tests": str(len(cases)), "failures": str(found["failure"]), "errors": "0"}
    suite.set("skipped", str(found["skipped"]))


def _sum_up(root: ET.Element) -> None:
    for key in ("tests", "failures", "errors", "skipped"):
        root.set(key, str(sum(int(suite.attrib[key]) for suite in root)))


def _text(text: str) -> str:
    """One line that XML can hold."""
    return _NOT_XML.sub("", clean(text, _LONGEST))
