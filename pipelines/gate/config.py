"""What must hold, on the test scores, before weights may ship."""

from typing import Literal, Self

from pydantic import Field, model_validator

from pipelines.engine.stage import Config, ScoresRef, Stage


class Gate(Config):
    """One condition on the candidate against the base: on one score, or on each score of a group by itself."""

    suite: str = Field("test", description="Suite whose scores are judged.")
    metric: str | None = Field(None, description="Score, as task/metric.")
    group: str | None = Field(None, description="Every score of this group, each judged in its own unit.")
    rule: Literal["improve", "no_regression"]
    by: float = Field(0.0, ge=0, description="improve: smallest improvement, in the metric's own unit.")
    margin: float = Field(
        0.0, ge=0, description="no_regression: largest loss that is accepted, in the metric's own unit."
    )
    alpha: float = Field(0.05, gt=0, lt=0.5, description="Error rate of the two-sided interval.")
    on_inconclusive: Literal["warn", "fail"] = Field("warn", description="What it means when the data cannot say.")

    @model_validator(mode="after")
    def _one_subject(self) -> Self:
        if (self.metric is None) == (self.group is None):
            raise ValueError("name exactly one of metric and group")
        return self

    @model_validator(mode="after")
    def _own_threshold(self) -> Self:
        if self.rule == "improve" and self.margin:
            raise ValueError("margin belongs to no_regression; improve takes by")
        if self.rule == "no_regression" and self.by:
            raise ValueError("by belongs to improve; no_regression takes margin")
        return self

    @property
    def threshold(self) -> float:
        """`by` or `margin`, whichever the rule goes by."""
        return self.by if self.rule == "improve" else self.margin


class GateConfig(Config):
    """All gates of a recipe; makes the verdict."""

    candidate: dict[str, ScoresRef] = Field(description="Scores of the candidate, by suite.")
    base: dict[str, ScoresRef] = Field(description="Scores of the base, by suite.")
    gates: tuple[Gate, ...] = Field(min_length=1)


STAGE = Stage("gate", 1, GateConfig, run="pipelines.gate.run:run", makes="verdict")
