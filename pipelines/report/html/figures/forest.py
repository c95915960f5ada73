"""A forest plot: every difference as a dot in its interval, about no change, with what the gates ask of it."""

from collections.abc import Iterable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.report.html.figures.spec import Effect, Forest
from pipelines.report.html.figures.svg import BAND, BETTER, INK, MUTED, SURFACE, WORSE, blank
from pipelines.report.numbers import SHARE
from pipelines.report.text import clip

WIDTH, ROW, HEAD, FOOT = 400, 42, 6, 46
"""In SVG units. So narrow that a phone shows its text at a readable size; the labels stand above their intervals."""

_COLOURS = {"better": BETTER, "worse": WORSE, "unclear": MUTED}
_SIGNS = {"better": "o", "worse": "D", "unclear": "o"}
_LONGEST = 27


def forest(spec: Forest) -> tuple[Figure, dict[str, str]]:
    """The figure, and what is shown when a row is pointed at."""
    rows = len(spec.effects)
    height = HEAD + ROW * rows + FOOT
    figure = blank(WIDTH, height)
    axes = figure.add_axes((12 / WIDTH, FOOT / height, 1 - 24 / WIDTH, ROW * rows / height))
    scale = 100 if spec.unit == SHARE else 1
    low, high = _reach(spec.effects, scale)
    axes.set_xlim(low, high)
    axes.set_ylim(rows, 0)
    axes.axvline(0, color=INK, linewidth=1)
    for at, effect in enumerate(spec.effects):
        _row(axes, at, effect, scale, (low, high))
    axes.set_yticks([])
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(f"difference to the base, {'percentage points' if spec.unit == SHARE else spec.unit}")
    return figure, {f"tip-{at}": f"{effect.label}: {effect.says}" for at, effect in enumerate(spec.effects)}


def _row(axes: Axes, at: int, effect: Effect, scale: float, reach: tuple[float, float]) -> None:
    middle, colour = at + 0.68, _COLOURS[effect.direction]
    for mark in effect.marks:
        edge = mark.at * scale
        if mark.kind == "allowed":
            bad = reach[0] if mark.good > 0 else reach[1]
            axes.fill_betweenx([at + 0.48, at + 0.88], edge, bad, color=BAND, linewidth=0, zorder=0.5)
        style = "--" if mark.kind == "allowed" else "-"
        axes.plot([edge, edge], [at + 0.44, at + 0.92], color=WORSE if style == "--" else BETTER, linestyle=style)
    if effect.low is not None and effect.high is not None:
        axes.plot([effect.low * scale, effect.high * scale], [middle, middle], color=colour, linewidth=2.4)
    face = SURFACE if effect.direction == "unclear" else colour
    sign = _SIGNS[effect.direction]
    dot = axes.plot(effect.delta * scale, middle, sign, markersize=8, color=colour, markerfacecolor=face)
    dot[0].set_gid(f"tip-{at}")
    words: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "va": "baseline", "size": 11.5}
    words["bbox"] = {"facecolor": SURFACE, "edgecolor": "none", "pad": 1.5}
    axes.text(0, at + 0.36, clip(effect.label, _LONGEST), ha="left", weight="bold", **words)
    axes.text(1, at + 0.36, effect.says, ha="right", **words)


def _reach(effects: Iterable[Effect], scale: float) -> tuple[float, float]:
    """Room for every interval, every mark and no change, and a little more."""
    ends = [0.0]
    for effect in effects:
        ends += [end for end in (effect.delta, effect.low, effect.high) if end is not None]
        ends += [mark.at for mark in effect.marks]
    low, high = min(ends) * scale, max(ends) * scale
    room = 0.08 * (high - low) or 1.0
    return low - room, high + room
