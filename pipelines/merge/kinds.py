"""The merge methods that a recipe can name, and their parameters."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias

from pydantic import AfterValidator, Field, model_validator

from pipelines.engine.stage import Config, WeightsRef
from pipelines.merge.mergekit.methods import METHODS, check_name, check_parameters
from pipelines.merge.schedule import Scheduled, meeting, value_at

_MOST = 1e30
"""Beyond it sums of weights and their products with weights of the model leave the range of fp32."""
Number: TypeAlias = Annotated[float, Field(ge=-_MOST, le=_MOST, allow_inf_nan=False)]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Density: TypeAlias = Annotated[float, Field(gt=0, le=1)]

SPECTRAL = ("iso_c", "tsv_m")
"""Methods that compute whole matrices, and the mean of the models of what is no matrix."""

Lambda: TypeAlias = Annotated[Scheduled[Number], Field(alias="lambda", description="Scale of the merged task vector.")]
Seed: TypeAlias = Annotated[int, Field(description="Seed of the masks.")]


class Kind(Config):
    """What all methods have.

    `least` and `most` models are merged; with `ordered` the first is told from the second. `signed` weights may be
    negative, `weighted` ones have a meaning at all. `takes` is what the models must be.
    """

    least: ClassVar[int] = 1
    most: ClassVar[int | None] = None
    ordered: ClassVar[bool] = False
    weighted: ClassVar[bool] = True
    signed: ClassVar[bool] = False
    takes: ClassVar[tuple[str, ...]] = ("model", "adapter")
    kind: str

    def at(self, tensor: str, depth: float) -> Any:
        """The same method with every schedule replaced by its number at a tensor."""
        fields = type(self).model_fields
        fixed = {name: value_at(value, tensor, depth, fields[name].default) for name, value in self.schedules().items()}
        return self.model_copy(update=fixed) if fixed else self

    def schedules(self) -> dict[str, Any]:
        """The parameters that differ from tensor to tensor."""
        return {
            name: value
            for name, field in type(self).model_fields.items()
            if isinstance(field.default, float) and isinstance(value := getattr(self, name), (tuple, dict))
        }

    def meeting(self, *names: str) -> Iterator[tuple[float, ...]]:
        """The numbers that parameters, schedules or not, have at one tensor."""
        fields = type(self).model_fields
        return meeting(*((getattr(self, name), fields[name].default) for name in names))


class Linear(Kind):
    """Weighted mean of the models: a soup (Wortsman et al. 2022, arXiv 2203.05482)."""

    kind: Literal["linear"]


class Interpolate(Kind):
    """(1 - alpha) base + alpha model: WiSE-FT (Wortsman et al. 2021, arXiv 2109.01903)."""

    most = 1
    weighted = False
    kind: Literal["interpolate"]
    alpha: Scheduled[Share] = Field(
        0.5,
        description="0 is the base, 1 the tuned model, both bitwise; 0.5 is the paper's advice where nothing is known.",
    )


class CheckpointAverage(Kind):
    """Mean of the last checkpoints of one training run (LAWA, Kaddour 2022, arXiv 2209.14981)."""

    most = 1
    weighted = False
    kind: Literal["checkpoint_average"]
    last: int | None = Field(None, ge=1, description="How many checkpoints; default: all that the run kept.")


class TaskArithmetic(Kind):
    """base + lambda times the weighted sum of the task vectors (Ilharco et al. 2022, arXiv 2212.04089)."""

    signed = True
    kind: Literal["task_arithmetic"]
    lambda_: Lambda = 1.0


class Ties(Kind):
    """Trim, elect sign, disjoint mean (Yadav et al. 2023, arXiv 2306.01708)."""

    kind: Literal["ties"]
    density: Scheduled[Share] = Field(0.2, description="Share of each task vector that survives the trim.")
    lambda_: Lambda = 1.0
    scope: Literal["tensor", "row", "global"] = Field(
        "tensor", description="What the share is taken of: each tensor, each row, or the whole model as in the paper."
    )
    sign: Literal["mass", "count"] = Field(
        "mass", description="How the sign is elected: by the weighted sum, or by the weights of those that have it."
    )

    @model_validator(mode="after")
    def _one_share_of_all(self) -> Self:
        if self.scope == "global" and not isinstance(self.density, float):
            raise ValueError("with scope: global one density holds for the whole model")
        return self


class Dare(Kind):
    """Random drop and 1/density rescale of each task vector, then their sum (Yu et al. 2023, arXiv 2311.03099)."""

    signed = True
    kind: Literal["dare"]
    density: Scheduled[Density] = Field(0.5, description="Probability that an element survives.")
    lambda_: Lambda = 1.0
    seed: Seed = 0


class DareTies(Kind):
    """Random drop and 1/density rescale (Yu et al. 2023, arXiv 2311.03099), then sign election and disjoint sum."""

    kind: Literal["dare_ties"]
    density: Scheduled[Density] = Field(0.5, description="Probability that an element survives.")
    lambda_: Lambda = 1.0
    seed: Seed = 0


class Della(Kind):
    """Random drop, rarer for larger magnitudes of a row, and rescale (Deep et al. 2024, arXiv 2406.11617)."""

    kind: Literal["della"]
    density: Scheduled[Density] = Field(0.5, description="Mean probability that an element survives.")
    epsilon: Scheduled[Share] = Field(
        0.1, description="Half the range of the probability between the smallest and the largest of a row."
    )
    elect: bool = Field(
        True, description="Elect signs and take the mean of what agrees, as in the paper; false: the weighted sum."
    )
    lambda_: Lambda = 1.0
    seed: Seed = 0

    @model_validator(mode="after")
    def _probabilities(self) -> Self:
        for density, epsilon in self.meeting("density", "epsilon"):
            got = f"(got {density:g} and {epsilon:g}); make epsilon smaller"
            if density - epsilon <= 0:
                raise ValueError(f"density - epsilon, the smallest probability, must be more than 0 {got}")
            if density + epsilon > 1 + 1e-9:
                raise ValueError(f"density + epsilon, the largest probability, must be at most 1 {got}")
        return self


class Breadcrumbs(Kind):
    """Drop the smallest and the very largest of each task vector (Davari and Belilovsky 2023, arXiv 2312.06795)."""

    kind: Literal["breadcrumbs"]
    density: Scheduled[Density] = Field(0.9, description="Share of each task vector that survives.")
    gamma: Scheduled[Share] = Field(0.01, description="Share of largest magnitudes that is dropped.")
    elect: bool = Field(False, description="Elect signs before the sum; false: plain sum, as in the paper.")
    lambda_: Lambda = 1.0

    @model_validator(mode="after")
    def _shares(self) -> Self:
        for density, gamma in self.meeting("density", "gamma"):
            if density + gamma > 1:
                raise ValueError(
                    f"density and gamma are shares of one tensor and must add up to at most 1 "
                    f"(got {density:g} and {gamma:g}); make one smaller"
                )
        return self


class ModelStock(Kind):
    """From the base towards the models' mean, as far as their angle says (Jang et al. 2024, arXiv 2403.19522)."""

    least = 2
    weighted = False
    kind: Literal["model_stock"]


class Slerp(Kind):
    """Spherical interpolation from the base to a model, or from a first model to a second (Shoemake 1985)."""

    most = 2
    ordered = True
    weighted = False
    kind: Literal["slerp"]
    t: Scheduled[Share] = Field(0.5, description="0 is where it starts, 1 where it ends.")


class Nuslerp(Kind):
    """Spherical interpolation between the task vectors of two models, by their weights."""

    least = most = 2
    kind: Literal["nuslerp"]
    scope: Literal["tensor", "row"] = Field("tensor", description="What is taken as one vector.")


class Karcher(Kind):
    """Weighted mean of the models' directions on the sphere, iterated (Karcher 1977)."""

    kind: Literal["karcher"]
    iterations: int = Field(100, ge=1, description="Most steps.")
    tolerance: float = Field(1e-7, gt=0, description="Length of the step, in radians, at which it has converged.")


class Sce(Kind):
    """Select by variance, calculate weights by energy, erase minority signs (Wan et al. 2024, arXiv 2408.07990)."""

    weighted = False
    kind: Literal["sce"]
    density: Scheduled[Density] = Field(0.1, description="Share of each tensor, of largest variance, that is merged.")
    lambda_: Lambda = 1.0


class IsoC(Kind):
    """Sum of the task vectors with all singular values equal (Marczak et al. 2025, arXiv 2502.04959)."""

    kind: Literal["iso_c"]
    lambda_: Lambda = 1.0


class TsvM(Kind):
    """Top singular vectors of each task, made orthogonal (Gargiulo et al. 2024, arXiv 2412.00081)."""

    kind: Literal["tsv_m"]
    lambda_: Lambda = 1.0
    density: Density | None = Field(
        None, description="Share of singular vectors kept of each task; default: one over the number of models."
    )


class Cat(Kind):
    """Adapters side by side: exactly the weighted sum, of rank sum r_i (Prabhakar et al. 2024, arXiv 2410.13025)."""

    signed = True
    takes = ("adapter",)
    kind: Literal["cat"]


class Svd(Kind):
    """The weighted sum of adapters cut to a rank, best in Frobenius norm (Eckart and Young 1936)."""

    signed = True
    takes = ("adapter",)
    kind: Literal["svd"]
    rank: int | None = Field(None, ge=1, description="Rank of the result; default: the largest rank of the adapters.")


class Knots(Kind):
    """Adapters merged by TIES in a basis they share (Stoica et al. 2024, arXiv 2410.19735)."""

    takes = ("adapter",)
    kind: Literal["knots"]
    density: Scheduled[Share] = Field(0.2, description="Share of each task's coordinates that survives the trim.")
    lambda_: Lambda = 1.0
    rank: int | None = Field(None, ge=1, description="Rank of the result; default: the sum of the ranks.")


class SliceSource(Config):
    """Layers of one model."""

    use: WeightsRef
    layer_range: tuple[int, int] = Field(description="First layer, and the first that is not taken.")
    parameters: dict[str, Any] = Field({}, description="Parameters of this model in this slice.")


class Slice(Config):
    """Layers of the result, merged from as many layers of each source."""

    sources: tuple[SliceSource, ...] = Field(min_length=1)
    parameters: dict[str, Any] = Field({}, description="Parameters of this slice.")

    @model_validator(mode="after")
    def _as_many_layers(self) -> Self:
        ranges = [source.layer_range for source in self.sources]
        if any(not 0 <= start < stop for start, stop in ranges):
            raise ValueError("a layer_range goes from a layer to a later one")
        if len({stop - start for start, stop in ranges}) > 1:
            raise ValueError("all sources of a slice must have as many layers")
        return self


class Mergekit(Kind):
    """Any method of mergekit by its name; needs `engine: mergekit`.

    With `slices` layers are stacked, so the result may have more or fewer than the base.
    """

    ordered = True
    signed = True
    kind: Literal["mergekit"]
    name: Annotated[str, AfterValidator(check_name)] = Field(description="Its merge_method.")
    parameters: dict[str, Any] = Field({}, description="Parameters for all models, as in a mergekit file.")
    task_vectors: bool = Field(True, description="Give it the base; nuslerp and multislerp can do without.")
    slices: tuple[Slice, ...] = Field((), description="Layers of the result from first to last; default: all layers.")
    seed: Seed = 0

    @model_validator(mode="after")
    def _known_parameters(self) -> Self:
        method = METHODS[self.name]
        everywhere = (*method.shared, *method.each)
        beside = [name for name in everywhere if name != "weight"]
        check_parameters(self.name, self.parameters, everywhere if self.slices else beside)
        for one in self.slices:
            check_parameters(self.name, one.parameters, everywhere)
            for source in one.sources:
                check_parameters(self.name, source.parameters, method.each)
        for name in method.required:
            if not (name in self.parameters or (self.slices and all(name in one.parameters for one in self.slices))):
                raise ValueError(f"mergekit's {self.name} needs the parameter '{name}'")
        return self


Method = Annotated[
    Linear
    | Interpolate
    | CheckpointAverage
    | TaskArithmetic
    | Ties
    | Dare
    | DareTies
    | Della
    | Breadcrumbs
    | ModelStock
    | Slerp
    | Nuslerp
    | Karcher
    | Sce
    | IsoC
    | TsvM
    | Cat
    | Svd
    | Knots
    | Mergekit,
    Field(discriminator="kind"),
]


class Svc(Config):
    """Singular values that the sum of overlapping tasks inflated, scaled back (Li et al. 2026, arXiv 2602.05536)."""

    kind: Literal["svc"]
    alpha: float = Field(1.0, gt=0, allow_inf_nan=False, description="Below 1, deflated ones grow by up to 1 / alpha.")


Post = Annotated[Svc, Field(discriminator="kind")]
