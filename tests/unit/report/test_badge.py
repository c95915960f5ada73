"""The badge: what it says, that it stands alone, and that it can be read."""

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from pipelines.report.ci.badge import COLOURS, badge, text_width
from tests.unit.report.reports import gate, report_of

SVG = "{http://www.w3.org/2000/svg}"


def words(text: str) -> list[str | None]:
    return [element.text for element in ET.fromstring(text).iter(f"{SVG}text")]


@pytest.mark.parametrize("verdict", ["PASS", "FAIL", "INCONCLUSIVE"])
def test_badge_says_the_verdict_and_what_the_target_gained(tmp_path: Path, verdict: str) -> None:
    told = {"verdict": verdict, "blocks": False, "candidate": "best"}
    text = badge(report_of(tmp_path, verdict=told))
    assert words(text) == ["burnish", f"{verdict} +35.0 pp"]
    assert COLOURS[verdict] in text
    title = ET.fromstring(text).find(f"{SVG}title")
    assert title is not None and title.text == f"burnish support-tickets: {verdict} +35.0 pp"


def test_badge_of_bits_names_their_unit(tmp_path: Path) -> None:
    report = report_of(tmp_path, [gate(delta=-0.25, unit="bits per byte")])
    assert words(badge(report))[1] == "INCONCLUSIVE -0.2500 bits per byte"


def test_badge_without_a_gate_on_the_target_says_the_verdict_alone(tmp_path: Path) -> None:
    assert words(badge(report_of(tmp_path, [gate(rule="no_regression"), gate(delta=None)])))[1] == "INCONCLUSIVE"


def test_badge_without_gates_says_that_there_is_no_verdict(tmp_path: Path) -> None:
    assert words(badge(report_of(tmp_path, verdict=None, gates=[])))[1] == "no verdict"


def test_badge_needs_nothing_from_outside_and_its_text_fits(tmp_path: Path) -> None:
    text = badge(report_of(tmp_path, recipe="a\"<&>'b"))
    root = ET.fromstring(text)
    assert re.findall(r"https?://[^\"]+", text) == ["http://www.w3.org/2000/svg"]
    assert root.get("aria-label") == "burnish a\"<&>'b: INCONCLUSIVE +35.0 pp"
    widths = [float(element.get("textLength", "")) for element in root.iter(f"{SVG}text")]
    assert float(root.get("width", "")) == sum(widths) + 4 * 6


def test_badge_text_is_readable_on_its_colours() -> None:
    def light(colour: str) -> float:
        """Relative luminance, WCAG 2."""
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    assert all(1.05 / (light(colour) + 0.05) >= 4.5 for colour in (*COLOURS.values(), "#444d56"))


def test_text_width_is_near_that_of_the_font() -> None:
    assert text_width("PASS +36.0 pp") == pytest.approx(84.5, abs=1.5)
    assert text_width("\u2713") == 12.0
