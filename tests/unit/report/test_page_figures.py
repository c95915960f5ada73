"""The pictures: they follow their data, wear the page's colours, and share no id."""

import re
import xml.etree.ElementTree as ET
from itertools import combinations

import pytest

from pipelines.report.html.figures.curves import moving_mean
from pipelines.report.html.figures.spec import Curves, Effect, Forest, Line, Mark, Plane, Point

draw = pytest.importorskip("pipelines.report.html.figures.draw", reason="needs the extra report").draw

FOREST = Forest(
    "best less base",
    "share",
    (
        Effect("tickets/exact_match", 0.35, 0.26, 0.44, "better", "+35.0 pp", (Mark("asked", 0.05, 1),)),
        Effect("facts/a$b$ <x>", -0.05, -0.16, 0.04, "unclear", "-5.0 pp", (Mark("allowed", -0.02, 1),)),
        Effect("lone/acc", 0.0, None, None, "unclear", "0.0 pp"),
    ),
)
PLANE = Plane(
    "target and general", "target", "general",
    (
        Point("base", 0.0, 0.3, "base", True), Point("twin", 0.0, 0.3, "model", True),
        *(Point(f"model {n}", 0.1 + 0.002 * n, 0.2 + 0.01 * (n % 2), "model", n == 7) for n in range(8)),
    ),
    (True, True),
)  # fmt: skip
CURVES = Curves("loss", (Line("learned rows", (1, 2, 3), (3.0, 2.0, 1.0)), Line("replayed rows", (1, 3), (2.0, 2.1))))


@pytest.mark.parametrize("spec", [FOREST, PLANE, CURVES])
def test_picture_is_a_named_svg_without_size_and_namespaces(spec):
    svg = draw(spec, "one")
    root = ET.fromstring(svg.replace("<svg ", '<svg xmlns:xlink="http://www.w3.org/1999/xlink" ', 1))
    assert root.get("role") == "img"
    assert root.find("title").text == spec.title
    assert root.find("desc").text
    assert root.get("viewBox")
    assert not {"width", "height"} & set(root.keys())
    assert "http" not in svg
    assert "<style" not in svg
    assert "font-family" not in svg


@pytest.mark.parametrize("spec", [FOREST, PLANE, CURVES])
def test_picture_has_only_colours_of_the_theme(spec):
    svg = draw(spec, "one")
    assert not re.findall(r"#[0-9a-f]{6}\b", re.sub(r"var\(--\w+, #[0-9a-f]{6}\)", "", svg))


def test_picture_is_the_same_for_the_same_data_and_shares_no_id_with_another():
    one, two = draw(FOREST, "one"), draw(FOREST, "two")
    assert draw(FOREST, "one") == one
    ids = [set(re.findall(r' id="([^"]+)"', svg)) for svg in (one, two)]
    assert ids[0]
    assert not ids[0] & ids[1]
    for svg, own in zip((one, two), ids, strict=True):
        assert set(re.findall(r'(?:url\(|href=")#([^")]+)', svg)) <= own


def test_forest_names_every_row_and_takes_no_name_for_a_formula():
    svg = draw(FOREST, "one")
    assert "facts/a$b$ &lt;x&gt;" in svg
    assert "<title>facts/a$b$ &lt;x&gt;: -5.0 pp</title>" in svg


def test_plane_names_every_crowded_point_once_and_apart():
    svg = draw(PLANE, "one")
    spots = re.findall(r'<text [^>]*x="([\d.]+)" y="([\d.]+)"[^>]*>(model \d|base, twin)</text>', svg)
    assert sorted(label for *_, label in spots) == ["base, twin", *(f"model {n}" for n in range(8))]
    for (x, y, _), (u, v, _) in combinations(spots, 2):
        assert abs(float(x) - float(u)) > 40 or abs(float(y) - float(v)) > 9


def test_moving_mean_is_centred_and_keeps_the_ends():
    values = [float(n) for n in range(100)]
    assert moving_mean(values) == pytest.approx(values)
    assert moving_mean([1.0, 2.0]) == [1.0, 2.0]
