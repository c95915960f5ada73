"""Models or trials in the plane of what is gained and what is kept, with the front that no other one beats."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import cos, hypot, pi, sin
from textwrap import wrap

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from matplotlib.transforms import Bbox

from pipelines.report.html.figures.spec import Plane, Point
from pipelines.report.html.figures.svg import BETTER, INK, MUTED, SURFACE, WORSE, blank
from pipelines.report.text import clip

WIDTH, HEIGHT = 420, 310
_LONGEST, _WRAP = 24, 20
"""Letters of a name, and of a line of several names."""

_SIGNS = {
    "base": ("s", INK, INK, 7),
    "candidate": ("*", BETTER, BETTER, 15),
    "model": ("o", BETTER, SURFACE, 7),
    "beyond": ("x", MUTED, MUTED, 6),
}
"""Sign, edge, face and size of each kind of point."""
_PLACES = [
    (away * cos(turn * pi / 8), away * sin(turn * pi / 8))
    for away in (8, 14, 22, 32, 44, 58)
    for turn in (0, 4, 12, 8, 2, 14, 6, 10, 1, 15, 3, 13, 5, 11, 7, 9)
]
"""Where the near edge of a label may lie from its point, the best place first: right, above, below, left, between."""
_FAR = 15
"""From here on a line leads from the label to its point."""


def plane(spec: Plane) -> tuple[Figure, dict[str, str]]:
    """The figure, and what is shown when a point is pointed at."""
    figure = blank(WIDTH, HEIGHT)
    axes = figure.add_axes((62 / WIDTH, 48 / HEIGHT, 1 - 76 / WIDTH, 1 - 62 / HEIGHT))
    front = sorted((point.x, point.y) for point in spec.points if point.on_front)
    if len(front) > 1:
        axes.plot(*zip(*front, strict=True), color=BETTER, linewidth=1.2, alpha=0.7, zorder=1)
    tips = {}
    for at, point in enumerate(spec.points):
        sign, edge, face, size = _SIGNS[point.kind]
        face = BETTER if point.kind == "model" and point.on_front else face
        drawn = axes.plot(point.x, point.y, sign, color=edge, markerfacecolor=face, markersize=size, zorder=3)
        drawn[0].set_gid(f"tip-{at}")
        tips[f"tip-{at}"] = point.label
    if spec.limit is not None:
        axes.axhline(spec.limit, color=WORSE, linewidth=1, linestyle="--", zorder=1)
    axes.margins(0.12)
    _axis(axes, spec)
    _labels(figure, axes, spec.points, front)
    return figure, tips


def _axis(axes: Axes, spec: Plane) -> None:
    axes.set_xlabel(spec.x_label)
    axes.set_ylabel(spec.y_label)
    percent = FuncFormatter(lambda number, at: f"{100 * number:g} %")
    if spec.percent[0]:
        axes.xaxis.set_major_formatter(percent)
    if spec.percent[1]:
        axes.yaxis.set_major_formatter(percent)
    if spec.turned[0]:
        axes.invert_xaxis()
    if spec.turned[1]:
        axes.invert_yaxis()
    axes.locator_params(nbins=6)


def _along(front: Sequence[tuple[float, float]], axes: Axes) -> Iterator[tuple[float, float]]:
    """Spots on the line of the front, close enough to each other that no name fits between two."""
    for (a, b), (c, d) in pairwise([axes.transData.transform(spot) for spot in front]):
        steps = int(max(abs(c - a), abs(d - b)) / 4) + 1
        yield from ((a + (c - a) * step / steps, b + (d - b) * step / steps) for step in range(1, steps))


def _labels(figure: Figure, axes: Axes, points: Sequence[Point], front: Sequence[tuple[float, float]]) -> None:
    """Names at the first place about their point where they cover no name, point or line and stay in the picture.

    Points in one place share a label. One that finds no place goes without: what is pointed at tells its name.
    """
    shared: dict[tuple[float, float], list[Point]] = {}
    for point in points:
        shared.setdefault((point.x, point.y), []).append(point)
    # Limits that follow from the data are worked out when they are asked for, and places follow from them.
    axes.get_xlim(), axes.get_ylim()
    taken = [_about(x, y, 5) for x, y in map(axes.transData.transform, shared)]
    taken += [_about(x, y, 1) for x, y in _along(front, axes)]
    room = Bbox.from_extents(axes.bbox.x0, axes.bbox.y0, WIDTH, HEIGHT)
    for spot, here in sorted(shared.items(), key=lambda item: item[1][0].kind not in ("base", "candidate")):
        label = "\n".join(wrap(", ".join(clip(point.label, _LONGEST) for point in here), _WRAP))
        bold = "bold" if any(point.kind == "candidate" for point in here) else "normal"
        text = axes.annotate(label, spot, (0, 0), textcoords="offset points", size=11, weight=bold, linespacing=1.1)
        size = text.get_window_extent(FigureCanvasAgg(figure).get_renderer())
        x, y = axes.transData.transform(spot)
        text.remove()
        for right, up in _PLACES:
            box = _beside(x + right, y + up, right, up, size)
            if box.x0 >= room.x0 and box.x1 <= room.x1 and box.y0 >= room.y0 and box.y1 <= room.y1:
                if box.count_overlaps(taken):
                    continue
                taken.append(box)
                lead = {"arrowstyle": "-", "color": MUTED, "linewidth": 0.6} if hypot(right, up) > _FAR else None
                axes.annotate(
                    label, spot, ((box.x0 + box.x1) / 2 - x, (box.y0 + box.y1) / 2 - y), textcoords="offset points",
                    ha="center", va="center", size=11, weight=bold, linespacing=1.1, arrowprops=lead,
                )  # fmt: skip
                break


def _about(x: float, y: float, reach: float) -> Bbox:
    return Bbox.from_extents(x - reach, y - reach, x + reach, y + reach)


def _beside(x: float, y: float, right: float, up: float, size: Bbox) -> Bbox:
    """A box of this size that touches a place with the edge, or the corner, that is nearest to where it comes from."""
    along, high = right / hypot(right, up), up / hypot(right, up)
    left, low = x - size.width * (1 - along) / 2, y - size.height * (1 - high) / 2
    return Bbox.from_bounds(left, low, size.width, size.height)
