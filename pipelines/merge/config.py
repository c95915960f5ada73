"""What is merged, by which method."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipelines.engine.stage import RUNTIME, Config, ModelRef, Stage, WeightsRef


class Member(Config):
    """One of the models or adapters that are merged."""

    use: WeightsRef
    weight: float = Field(1.0, allow_inf_nan=False, description="Its weight in the method's formula.")


class Linear(Config):
    """Weighted mean of the models: a soup (Wortsman et al. 2022, arXiv 2203.05482)."""

    kind: Literal["linear"]


class Interpolate(Config):
    """(1 - alpha) base + alpha model: WiSE-FT (Wortsman et al. 2021, arXiv 2109.01903)."""

    kind: Literal["interpolate"]
    alpha: float = Field(ge=0, le=1, description="0 is the base, 1 the tuned model, both bitwise.")


class Ties(Config):
    """Trim, elect sign, disjoint mean (Yadav et al. 2023, arXiv 2306.01708)."""

    kind: Literal["ties"]
    density: float = Field(0.2, ge=0, le=1, description="Share of each task vector that survives the trim.")
    lambda_: float = Field(1.0, alias="lambda", allow_inf_nan=False, description="Scale of the merged task vector.")


class DareTies(Config):
    """Random drop and 1/density rescale (Yu et al. 2023, arXiv 2311.03099), then sign election and disjoint sum."""

    kind: Literal["dare_ties"]
    density: float = Field(0.5, gt=0, le=1, description="Probability that an element survives.")
    lambda_: float = Field(1.0, alias="lambda", allow_inf_nan=False, description="Scale of the merged task vector.")
    seed: int = Field(0, description="Seed of the masks.")


Method = Annotated[Linear | Interpolate | Ties | DareTies, Field(discriminator="kind")]


class MergeConfig(Config):
    """One merge; makes a model."""

    base: ModelRef = Field(ModelRef("base"), description="Common ancestor of the models.")
    models: tuple[Member, ...] = Field(min_length=1)
    method: Method
    dtype: Literal["keep", "float32", "bfloat16", "float16"] = Field("keep", description="Type of the saved weights.")
    engine: Literal["burnish", "mergekit"] = "burnish"
    threads: Annotated[int | None, RUNTIME] = Field(
        None, ge=1, description="Tensors merged at once; default: the cores."
    )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        weights = [member.weight for member in self.models]
        # 0.1 + 0.2 - 0.3 is 5.6e-17: what rounding leaves of a zero must not be divided by.
        if self.method.kind == "linear" and abs(sum(weights)) <= 1e-9 * sum(map(abs, weights)):
            raise ValueError("the weights sum to 0, so their mean is not defined")
        if self.method.kind == "interpolate" and len(self.models) != 1:
            raise ValueError("interpolate takes exactly one model; use linear for several")
        if self.method.kind == "interpolate" and weights != [1.0]:
            raise ValueError("interpolate takes no weight; alpha says how far to go")
        if self.method.kind != "linear" and min(weights) < 0:
            raise ValueError("negative weights have no meaning where signs are elected; use linear")
        if not any(weights):
            raise ValueError("all weights are 0, so nothing would be merged")
        return self


STAGE = Stage("merge", 1, MergeConfig, run="pipelines.merge.run:run", makes="model")
