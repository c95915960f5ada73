"""What must hold, on the test scores, before weights may ship."""

from typing import Literal, Self

from pydantic import Field, model_validator

from pipelines.engine.stage import Config, ExportRef, ScoresRef, Stage


class Gate(Config):
    """One condition on the candidate: on one score, on each score of a group by itself, or on their mean."""

    suite: str = Field("test", description="Suite whose scores are judged.")
    metric: str | None = Field(None, description="Score, as task/metric.")
    group: str | None = Field(None, description="Every score of this group, each judged in its own unit.")
    mean: bool = Field(False, description="With group: judge the mean of its scores, all equally heavy, instead.")
    rule: Literal["improve", "no_regression", "at_least", "drift"]
    by: float = Field(0.0, ge=0, description="improve: smallest improvement, in the metric's own unit.")
    margin: float = Field(
        0.0, ge=0, description="no_regression: largest loss that is accepted, in the metric's own unit."
    )
    value: float | None = Field(None, description="at_least: what the candidate itself must reach, base or no base.")
    max: float | None = Field(
        None, ge=0, description="drift: farthest that the candidate may be from the base, up or down; of kl: its value."
    )
    through: ExportRef | None = Field(
        None, description="Export whose shipped weights are judged, as vLLM serves them; the base is served likewise."
    )
    alpha: float = Field(0.05, gt=0, lt=0.5, description="Error rate of the two-sided interval.")
    on_inconclusive: Literal["warn", "fail"] = Field("warn", description="What it means when the data cannot say.")

    @model_validator(mode="after")
    def _one_subject(self) -> Self:
        if (self.metric is None) == (self.group is None):
            raise ValueError("name exactly one of metric and group")
        if self.mean and self.group is None:
            raise ValueError("mean belongs to group")
        return self

    @model_validator(mode="after")
    def _own_threshold(self) -> Self:
        for rule, key in THRESHOLDS.items():
            given = getattr(self, key) != type(self).model_fields[key].default
            if given and rule != self.rule:
                raise ValueError(f"{key} belongs to {rule}; {self.rule} takes {THRESHOLDS[self.rule]}")
            if rule == self.rule and getattr(self, key) is None:
                raise ValueError(f"{rule} needs {key}")
        return self

    @property
    def threshold(self) -> float:
        """`by`, `margin`, `value` or `max`, whichever the rule goes by."""
        return float(getattr(self, THRESHOLDS[self.rule]))


THRESHOLDS = {"improve": "by", "no_regression": "margin", "at_least": "value", "drift": "max"}
"""Rule to the key that it goes by."""


class GateConfig(Config):
    """All gates of a recipe; makes the verdict."""

    candidate: dict[str, ScoresRef] = Field(description="Scores of the candidate, by suite.")
    base: dict[str, ScoresRef] = Field(description="Scores of the base, by suite.")
    seeds: dict[str, tuple[ScoresRef, ...]] = Field(
        {}, description="Scores, by suite, of models made like the candidate with other seeds."
    )
    gates: tuple[Gate, ...] = Field(min_length=1)


STAGE = Stage("gate", 2, GateConfig, run="pipelines.gate.run:run", makes="verdict")
