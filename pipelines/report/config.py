"""What the report shows."""

from typing import Literal, get_args

from pydantic import Field

from pipelines.engine.stage import AnyRef, Config, ExportRef, ScoresRef, Stage, VerdictRef

ReportFormat = Literal["markdown", "html", "junit", "annotations", "badge", "model_card"]
FORMATS: tuple[ReportFormat, ...] = get_args(ReportFormat)


class ReportEntry(Config):
    """The report, as the recipe states it."""

    formats: tuple[ReportFormat, ...] = Field(FORMATS, description="What is written beside report.json.")
    cost_per_hour: float | None = Field(None, ge=0, description="Price of an hour of the machine, for the cost.")
    currency: str = Field("USD", max_length=8, description="What cost_per_hour is in.")


class ReportConfig(Config):
    """Everything that a recipe made, for the page that a reviewer reads."""

    recipe: str = Field(description="Name of the recipe.")
    command: str = Field(description="Command that makes all of it again.")
    candidate: str = Field(description="Name of the model that is judged; empty where none is.")
    scores: dict[str, dict[str, ScoresRef]] = Field(
        {}, description="Suite to model to scores; the base is called base."
    )
    through: dict[str, ExportRef] = Field(
        {}, description="Suite that was measured on an export as vLLM serves it, to that export."
    )
    verdict: VerdictRef | None = None
    artifacts: tuple[AnyRef, ...] = Field((), description="Everything else that was made, in the order of the graph.")
    formats: tuple[ReportFormat, ...] = FORMATS
    cost_per_hour: float | None = None
    currency: str = "USD"


STAGE = Stage(
    "report", 5, ReportConfig, run="pipelines.report.run:run", makes="report", packages=("matplotlib", "jinja2")
)
