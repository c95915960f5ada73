"""Any picture of the page, drawn; the one name by which the page reaches matplotlib."""

from pipelines.report.html.figures.curves import curves
from pipelines.report.html.figures.forest import forest
from pipelines.report.html.figures.plane import plane
from pipelines.report.html.figures.spec import Figure, Forest, Plane
from pipelines.report.html.figures.svg import inline, style


def draw(spec: Figure, ident: str) -> str:
    """The picture as an <svg> element whose ids begin with `ident`. Same values, same bytes."""
    with style():
        if isinstance(spec, Forest):
            drawn, tips = forest(spec)
            says = "; ".join(tips.values())
        elif isinstance(spec, Plane):
            drawn, tips = plane(spec)
            says = "; ".join(f"{point.label}: {point.x:.4g}, {point.y:.4g}" for point in spec.points)
        else:
            drawn, tips = curves(spec)
            says = "; ".join(
                f"{line.label}: from {line.values[0]:.4g} to {line.values[-1]:.4g} in {len(line.values)} points"
                for line in spec.lines
            )
        return inline(drawn, ident, spec.title, says, tips)
