"""The verdict as a badge: one small SVG that needs no network, no font and no theme of its own."""

import html

from pipelines.report.data.collect import Report
from pipelines.report.numbers import NUMBER, SHARE, difference
from pipelines.report.text import clean

LABEL = "burnish"
COLOURS = {"PASS": "#1a7f37", "FAIL": "#cf222e", "INCONCLUSIVE": "#9a6700", "no verdict": "#57606a"}
"""White on each has a contrast of at least 4.5 (WCAG 2, success criterion 1.4.3)."""
_LABEL_COLOUR = "#444d56"
_LONGEST = 60
_SPACE = 6.0
_WIDTHS = {
    3.0: "'il", 4.0: " ,.fj", 4.5: "!Irt", 5.0: '"()-/:;[\\]|J', 5.5: "cs", 6.0: "?Lz", 6.5: "FPaekovxy",
    7.0: "$*_`{}0123456789ETYbdghnpqu", 7.5: "ABCKRSVXZ", 8.0: "&NU", 8.5: "DGHOQ", 9.0: "#+<=>^~w", 9.5: "M",
    10.5: "m", 11.0: "@W", 12.0: "%",
}  # fmt: skip
_WIDTH_OF = {sign: width for width, signs in _WIDTHS.items() for sign in signs}
"""Pixels that a sign takes in Verdana at 11 pixels; `textLength` makes any other font take as much."""
_WIDEST = 12.0


def badge(report: Report) -> str:
    """The picture: burnish | PASS +36.0 pp, with a title that names the recipe."""
    verdict = report["verdict"]["verdict"] if report["verdict"] else "no verdict"
    said = clean(" ".join([verdict, *_gain(report)]), _LONGEST)
    title = html.escape(clean(f"{LABEL} {report['recipe']}: {said}", 200))
    left, right = (text_width(text) + 2 * _SPACE for text in (LABEL, said))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right:g}" height="20" role="img"'
            f' aria-label="{title}">',
            f"<title>{title}</title>",
            '<clipPath id="r"><rect width="100%" height="20" rx="3"/></clipPath>',
            '<g clip-path="url(#r)">',
            f'<rect width="{left:g}" height="20" fill="{_LABEL_COLOUR}"/>',
            f'<rect x="{left:g}" width="{right:g}" height="20" fill="{COLOURS[verdict]}"/>',
            "</g>",
            '<g fill="#fff" font-family="Verdana,DejaVu Sans,Geneva,sans-serif" font-size="11">',
            _word(LABEL, _SPACE),
            _word(said, left + _SPACE),
            "</g>",
            "</svg>\n",
        ]
    )


def text_width(text: str) -> float:
    """Pixels that the text takes; a sign that is not in the table counts as the widest."""
    return sum(_WIDTH_OF.get(sign, _WIDEST) for sign in text)


def _gain(report: Report) -> list[str]:
    """The difference of the first gate that asks for an improvement."""
    for gate in report["gates"]:
        if gate["rule"] == "improve" and gate["delta"] is not None:
            unit = [] if gate["unit"] in (SHARE, NUMBER) else [gate["unit"]]
            return [difference(gate["delta"], gate["unit"]), *unit]
    return []


def _word(text: str, x: float) -> str:
    return f'<text x="{x:g}" y="14" textLength="{text_width(text):g}">{html.escape(text)}</text>'
