"""What the report shows."""

from typing import Literal

from pydantic import Field

from pipelines.engine.stage import AnyRef, Config, ScoresRef, Stage, VerdictRef

ReportFormat = Literal["markdown"]


class ReportEntry(Config):
    """The report, as the recipe states it."""

    formats: tuple[ReportFormat, ...] = ("markdown",)


class ReportConfig(Config):
    """Everything that a recipe made, for the page that a reviewer reads."""

    recipe: str = Field(description="Name of the recipe.")
    command: str = Field(description="Command that makes all of it again.")
    candidate: str = Field(description="Name of the model that is judged; empty where none is.")
    scores: dict[str, dict[str, ScoresRef]] = Field(
        {}, description="Suite to model to scores; the base is called base."
    )
    verdict: VerdictRef | None = None
    artifacts: tuple[AnyRef, ...] = Field((), description="Everything else that was made, in the order of the graph.")
    formats: tuple[ReportFormat, ...] = ("markdown",)


STAGE = Stage("report", 3, ReportConfig, run="pipelines.report.run:run", makes="report", packages=("matplotlib",))
