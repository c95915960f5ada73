"""How one model is picked from several, on development scores."""

from typing import Self

from pydantic import Field, model_validator

from pipelines.engine.stage import Config, ModelRef, ScoresRef, Stage


class Limit(Config):
    """The most that a group may lose against the base."""

    max_drop: float = Field(
        ge=0, description="Largest loss against the base of any score of the group, in the score's own unit."
    )


class SelectEntry(Config):
    """A rule, as the recipe states it."""

    from_: tuple[ModelRef, ...] = Field(alias="from", min_length=1, description="Models to pick from.")
    maximize: str | None = Field(None, description="Score to make largest, as task/metric.")
    minimize: str | None = Field(None, description="Score to make smallest, as task/metric.")
    subject_to: dict[str, Limit] = Field({}, description="Group of the suite to the most that it may lose.")
    suite: str = Field("dev", description="Suite of the scores; never the one that is gated.")

    @model_validator(mode="after")
    def _one_goal(self) -> Self:
        if (self.maximize is None) == (self.minimize is None):
            raise ValueError("name exactly one of maximize and minimize")
        return self


class Candidate(Config):
    """A model and its development scores."""

    model: ModelRef
    scores: ScoresRef


class SelectConfig(Config):
    """A rule with its scores; makes a model: the folder of the one that was picked."""

    candidates: tuple[Candidate, ...] = Field(min_length=1)
    base: ScoresRef = Field(description="Scores of the base.")
    maximize: str | None = None
    minimize: str | None = None
    subject_to: dict[str, Limit] = {}

    @model_validator(mode="after")
    def _one_goal(self) -> Self:
        if (self.maximize is None) == (self.minimize is None):
            raise ValueError("name exactly one of maximize and minimize")
        return self


STAGE = Stage("select", 1, SelectConfig, run="pipelines.select.run:run", makes="model")
