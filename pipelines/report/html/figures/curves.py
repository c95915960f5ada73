"""The course of a training run: every step faintly, and its moving mean over it."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from pipelines.report.html.figures.spec import Curves
from pipelines.report.html.figures.svg import BETTER, WORSE, blank

WIDTH, HEIGHT = 420, 250
_LOOKS = ((BETTER, "-"), (WORSE, "--"))
"""Learned and replayed rows; told apart by the line as well as by its colour."""
_WINDOW = 0.06
"""Share of the points that the mean is over."""


def curves(spec: Curves) -> tuple[Figure, dict[str, str]]:
    figure = blank(WIDTH, HEIGHT)
    axes = figure.add_axes((44 / WIDTH, 46 / HEIGHT, 1 - 58 / WIDTH, 1 - 60 / HEIGHT))
    for line, (colour, style) in zip(spec.lines, _LOOKS, strict=False):
        axes.plot(line.steps, line.values, color=colour, linewidth=0.8, alpha=0.35)
        axes.plot(line.steps, moving_mean(line.values), color=colour, linewidth=2, linestyle=style, label=line.label)
    axes.set_xlabel("step")
    axes.set_ylabel("loss, nats per token")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, loc="upper right", handlelength=2.4)
    return figure, {}


def moving_mean(values: Sequence[float]) -> list[float]:
    """Each value's mean with its neighbours, fewer of them at the ends; centred, so that no course is shifted."""
    reach = int(len(values) * _WINDOW / 2)
    means = []
    for at in range(len(values)):
        near = min(reach, at, len(values) - 1 - at)
        part = values[at - near : at + near + 1]
        means.append(sum(part) / len(part))
    return means
