"""The Pareto front of a search as a picture: what is gained against what is lost.

Drawn by matplotlib (a BSD-like licence), which the extra `report` installs. The same facts give the same bytes.
"""

import io
from collections.abc import Mapping
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from pipelines.report.data.search_facts import metric_of

_STYLE = {
    "svg.hashsalt": "burnish",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 10,
}
_KINDS = {True: ("#0072b2", "o", "within the limits"), False: ("#999999", "x", "beyond the limits")}


def draw(facts: Mapping[str, Any]) -> str:
    """The trials of a search and the base as SVG: the objective to the right, the largest loss upside down."""
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **_STYLE}):
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = figure.add_subplot()
        measured = [trial for trial in facts["trials"] if trial["objective"] is not None]
        for admissible, (colour, mark, label) in _KINDS.items():
            shown = [_point(trial) for trial in measured if trial["admissible"] is admissible]
            if shown:
                right, down = zip(*shown, strict=True)
                axes.scatter(right, down, c=colour, marker=mark, label=label, zorder=2)
        front = [_point(facts["trials"][at]) for at in facts["pareto"]]
        axes.plot(*zip(*front, strict=True), color="#0072b2", linewidth=1, label="Pareto front", zorder=1)
        best = _point(facts["trials"][facts["best"]])
        axes.scatter(*best, s=120, facecolors="none", edgecolors="#d55e00", label="winner", zorder=3)
        base = facts["base"]["scores"][metric_of(facts)]["value"]
        axes.scatter(base, 0.0, c="#000000", marker="s", label="base", zorder=2)
        for limit in facts["subject_to"].values():
            axes.axhline(limit, color="#d55e00", linewidth=0.8, linestyle="--")
        axes.set_xlabel(metric_of(facts) + (" (less is better)" if "minimize" in facts["objective"] else ""))
        axes.set_ylabel("largest loss against the base")
        axes.invert_yaxis()
        if "minimize" in facts["objective"]:
            axes.invert_xaxis()
        axes.legend(loc="best", frameon=False)
        buffer = io.StringIO()
        # What matplotlib would write of itself, a date and its version, is no part of the picture.
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _point(trial: Mapping[str, Any]) -> tuple[float, float]:
    return trial["objective"], max(trial["drops"].values(), default=0.0)
