"""A matplotlib figure as SVG that stands in a page: the page's colours, ids of its own, words for the blind."""

import html
import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import matplotlib
from matplotlib.figure import Figure

INK, MUTED, GRID, SURFACE = "#1d2530", "#5c6875", "#dfe4ea", "#fffffe"
BETTER, WORSE, BAND = "#0b69b0", "#b84a00", "#fbe9dc"
THEME = {
    INK: "ink", MUTED: "muted", GRID: "line", SURFACE: "paper", BETTER: "better", WORSE: "worse", BAND: "band",
}  # fmt: skip
"""The colours of the pictures and the CSS variables that stand for them; blue and orange differ to every eye."""

_STYLE = {
    "svg.hashsalt": "burnish",
    "svg.fonttype": "none",
    # A model called a$b$c is no formula.
    "text.parse_math": False,
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "axes.labelcolor": MUTED,
    "axes.labelsize": 11,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
}
_UNIT = 72
"""SVG units an inch."""


@contextmanager
def style() -> Iterator[None]:
    """Draw in this style, whatever the user's own is."""
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **_STYLE}):
        yield


def blank(width: float, height: float) -> Figure:
    """A figure of so many SVG units, in which text of size 11 is 11 units high."""
    return Figure(figsize=(width / _UNIT, height / _UNIT), dpi=_UNIT)


def inline(figure: Figure, ident: str, title: str, says: str, tips: Mapping[str, str]) -> str:
    """The figure as an <svg> element. `tips` maps the gid of an artist to what is shown when it is pointed at.

    The same figure and `ident` give the same text. Nothing in it refers outside the page, and no two pictures of
    different `ident` share an id.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    body = buffer.getvalue()
    width, height = (re.search(rf'{side}="([\d.]+)pt"', body).group(1) for side in ("width", "height"))  # type: ignore[union-attr]
    # The head names DTDs and namespaces, which a page needs none of, and a style for all that is called *.
    body = body[body.index("<g id=") : body.rindex("</svg>")]
    body = _tipped(body, tips)
    body = _own_ids(body, ident)
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
    for colour, variable in THEME.items():
        body = body.replace(colour, f"var(--{variable}, {colour})")
    body = re.sub(r"\s*\n\s*", " ", body).replace("> <", "><")
    head = (
        f'<svg class="figure" role="img" aria-labelledby="{ident}-title {ident}-says" '
        f'viewBox="0 0 {float(width):g} {float(height):g}">'
    )
    named = f'<title id="{ident}-title">{html.escape(title)}</title><desc id="{ident}-says">{html.escape(says)}</desc>'
    return f"{head}{named}{body}</svg>"


def _tipped(body: str, tips: Mapping[str, str]) -> str:
    return re.sub(
        r'<g id="(tip-\d+)">', lambda found: f"<g><title>{html.escape(tips[found[1]])}</title>", body, count=0
    )


def _own_ids(body: str, ident: str) -> str:
    """Ids that something refers to get the picture's name before them; the others go."""
    used = set(re.findall(r'(?:url\(|href=")#([^")]+)', body))
    body = re.sub(r' id="([^"]+)"', lambda found: f' id="{ident}-{found[1]}"' if found[1] in used else "", body)
    return re.sub(r'(url\(|href=")#', rf"\1#{ident}-", body)
