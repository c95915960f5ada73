"""What is searched for a merge: which of its parameters, by which method, and on what the candidates are judged."""

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from pipelines.engine.stage import Config, ScoresRef, Stage
from pipelines.evaluate.config import STAGE as EVALUATE
from pipelines.evaluate.config import EvaluateConfig
from pipelines.merge.config import STAGE as MERGE
from pipelines.merge.config import MergeConfig
from pipelines.merge.kinds import Number
from pipelines.select.config import Limit


class Range(Config):
    """All numbers between two; whole ones where low, high and step are whole."""

    low: Number = Field(description="Smallest value.")
    high: Number = Field(description="Largest value.")
    step: Number | None = Field(None, gt=0, description="Distance of the values, counted from low; default: none.")
    log: bool = Field(False, description="Small values are tried as often as large ones, by their order of magnitude.")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low must be less than high (got {self.low:g} and {self.high:g})")
        if self.log and self.low <= 0:
            raise ValueError(f"with log: true, low must be more than 0 (got {self.low:g})")
        if self.log and self.step is not None:
            raise ValueError("log and step exclude each other")
        return self

    @property
    def whole(self) -> bool:
        """Whether its values are whole numbers."""
        return self.step is not None and all(number.is_integer() for number in (self.low, self.high, self.step))


def _shape(value: Any) -> str:
    return "range" if isinstance(value, (dict, Range)) else "choices"


Choices = Annotated[tuple[Any, ...], Field(min_length=1)]
Over = Annotated[Annotated[Choices, Tag("choices")] | Annotated[Range, Tag("range")], Discriminator(_shape)]
"""The values that a parameter may have: a list of them, or a range."""

By = Literal["grid", "tpe", "cmaes", "greedy"]


class Objective(Config):
    """The score that is made as large or as small as it can be."""

    maximize: str | None = Field(None, description="Score to make largest, as task/metric.")
    minimize: str | None = Field(None, description="Score to make smallest, as task/metric.")

    @model_validator(mode="after")
    def _one_goal(self) -> Self:
        if (self.maximize is None) == (self.minimize is None):
            raise ValueError("name exactly one of maximize and minimize")
        return self

    @property
    def metric(self) -> str:
        return self.maximize or self.minimize or ""


class Rules(Config):
    """How a search goes; the same in the recipe and in the stage."""

    over: dict[str, Over] = Field(
        {}, description="Paths in the merge, such as method.lambda or models.NAME.weight, to the values tried."
    )
    by: By = Field(
        "grid",
        description="grid: every combination of lists; tpe and cmaes: sampled, guided by what was found; greedy: the "
        "greedy soup, models added to a linear merge one by one.",
    )
    trials: int = Field(24, ge=1, description="Most candidates that are merged and measured.")
    seed: int = Field(0, description="Seed of what is sampled.")
    objective: Objective = Field(description="The score that decides among the candidates that are admissible.")
    subject_to: dict[str, Limit] = Field({}, description="Group of the suite to the most that it may lose.")

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.by == "greedy" and self.over:
            raise ValueError("by: greedy chooses among the models; leave over out")
        if self.by != "greedy" and not self.over:
            raise ValueError("name something to search over, such as over: {method.lambda: [0.6, 0.8, 1.0]}")
        return self


class Search(Rules):
    """A search, as the recipe states it."""

    suite: str = Field("dev", description="Suite that candidates are measured on; never the one that is gated.")


class MergeEntry(MergeConfig):
    """One merge, as the recipe states it; with a search, the best of many."""

    search: Search | None = Field(None, description="Find the best parameters on a development suite.")

    @model_validator(mode="after")
    def _searchable(self) -> Self:
        if self.search is None:
            return self
        if self.output != "model":
            raise ValueError("a search makes a model, because only models are measured; leave output: adapter out")
        if self.search.by == "greedy":
            self._check_greedy(self.search.trials)
        return self

    def _check_greedy(self, trials: int) -> None:
        if self.method.kind != "linear":
            raise ValueError(f"by: greedy is the soup of method linear, not of {self.method.kind}")
        if (needed := 2 * len(self.models) - 1) > trials:
            raise ValueError(
                f"a greedy soup of {len(self.models)} models takes {needed} trials, and trials is {trials}"
            )

    def plain(self) -> MergeConfig:
        """The merge without its search."""
        return MergeConfig.model_validate({name: getattr(self, name) for name in MergeConfig.model_fields})


class SearchConfig(Rules):
    """A search with all that it needs; makes a model, that of the best candidate."""

    merge: MergeConfig = Field(description="The merge whose parameters are searched.")
    evaluate: EvaluateConfig = Field(description="How the base was measured; candidates are measured likewise.")
    scores: ScoresRef = Field(description="Scores of the base.")


STAGE = Stage(
    "search",
    # What the two stages make inside of a search changes what the search makes.
    1 + MERGE.version + EVALUATE.version,
    SearchConfig,
    run="pipelines.search.run:run",
    check="pipelines.search.check:check",
    makes="model",
    resumable=True,
    packages=EVALUATE.packages,
)
