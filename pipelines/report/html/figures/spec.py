"""What each kind of picture shows, as plain values: made without matplotlib, and drawn with it."""

from typing import Literal, NamedTuple

Direction = Literal["better", "worse", "unclear"]


class Mark(NamedTuple):
    """What a gate asks of a difference: `allowed` bounds what may be lost, `asked` what must be gained.

    `good` says on which side of `at` the gate is content: 1 above, -1 below.
    """

    kind: Literal["allowed", "asked"]
    at: float
    good: int


class Effect(NamedTuple):
    """One difference to the base in the score's own unit, its interval, and what the gates ask of it."""

    label: str
    delta: float
    low: float | None
    high: float | None
    direction: Direction
    says: str
    marks: tuple[Mark, ...] = ()


class Forest(NamedTuple):
    """Differences of one unit below each other, about the line of no change."""

    title: str
    unit: str
    effects: tuple[Effect, ...]


class Point(NamedTuple):
    """A model in the plane of two scores, or a trial in that of a gain and a loss."""

    label: str
    x: float
    y: float
    kind: Literal["base", "candidate", "model", "beyond"]
    on_front: bool


class Plane(NamedTuple):
    """Points and their Pareto front; up and right are better where an axis is not turned."""

    title: str
    x_label: str
    y_label: str
    points: tuple[Point, ...]
    percent: tuple[bool, bool] = (False, False)
    turned: tuple[bool, bool] = (False, False)
    limit: float | None = None


class Line(NamedTuple):
    label: str
    steps: tuple[float, ...]
    values: tuple[float, ...]


class Curves(NamedTuple):
    """Courses of losses over the steps of one training run."""

    title: str
    lines: tuple[Line, ...]


Figure = Forest | Plane | Curves
