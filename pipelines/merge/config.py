"""What is merged, by which method, into what."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from pipelines.engine.stage import RUNTIME, Config, DatasetRef, ModelRef, Stage, WeightsRef
from pipelines.merge.kinds import Kind, Mergekit, Method, Number, Post
from pipelines.merge.mergekit.methods import METHODS, check_parameters
from pipelines.merge.mergekit.rules import check_mergekit
from pipelines.merge.schedule import Scheduled, meeting, numbers

ADAPTER_METHODS = ("cat", "svd", "knots")
"""Methods whose result is low-rank, so that it can be an adapter again."""
MEANS = ("linear", "nuslerp", "karcher")
"""Methods that have no result where the weights sum to 0; the others have the base."""


class Member(Config):
    """One of the models or adapters that are merged."""

    use: WeightsRef
    weight: Scheduled[Number] = Field(1.0, description="Its weight in the method's formula.")
    parameters: dict[str, Any] = Field({}, description="Its own parameters in a method of kind mergekit.")


class Quantised(Config):
    """How the base was held while an adapter was trained (qlora), and rows to compare what is baked on."""

    rows: DatasetRef = Field(description="Dataset of which held-out rows are compared.")
    double_quant: bool = Field(True, description="Quantisation constants were quantised too.")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="Type of the maths while training.")


class MergeConfig(Config):
    """One merge; makes a model, or an adapter where `output` says so."""

    base: ModelRef = Field(ModelRef("base"), description="Common ancestor of the models.")
    models: tuple[Member, ...] = Field(min_length=1)
    method: Method
    post: Post | None = Field(None, description="What is done to the merged task vector afterwards.")
    output: Literal["model", "adapter"] = Field(
        "model", description="Baked weights, or an adapter (cat, svd and knots of adapters)."
    )
    dtype: Literal["keep", "float32", "bfloat16", "float16"] = Field("keep", description="Type of the saved weights.")
    quantised: Quantised | None = Field(
        None, description="The 4-bit base that the one adapter was trained on; filled in where this recipe trains it."
    )
    shard_size: str | None = Field(
        None,
        pattern=r"^\d+(\.\d+)?(MB|GB)$",
        description="Largest weight file, such as 5GB; default: the base's files.",
    )
    engine: Literal["burnish", "mergekit"] = "burnish"
    device: Annotated[str, RUNTIME] = Field(
        "cpu", pattern=r"^(cpu|cuda(:\d+)?)$", description="Where the elements are computed; the bytes are the same."
    )
    threads: Annotated[int | None, RUNTIME] = Field(
        None, ge=1, description="Pieces merged at once; default: the cores."
    )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        method, count = self.method, len(self.models)
        if count < method.least:
            raise ValueError(f"{method.kind} needs at least {method.least} models, and there are {count}")
        if method.most is not None and count > method.most:
            instead = "; use linear for several" if method.kind == "interpolate" else ""
            raise ValueError(f"{method.kind} takes at most {method.most} model{'s' * (method.most > 1)}{instead}")
        if self.shard_size and not shard_bytes(self.shard_size):
            raise ValueError(f"shard_size must be more than 0 (got {self.shard_size})")
        if self.output == "adapter" and method.kind not in ADAPTER_METHODS:
            raise ValueError(f"{method.kind} makes no adapter; {', '.join(ADAPTER_METHODS)} do")
        if self.post and method.kind in ADAPTER_METHODS:
            raise ValueError(f"post is not for {method.kind}; task_arithmetic makes a model of the same sum")
        if self.quantised and (count > 1 or method.kind != "linear" or self.engine != "burnish"):
            raise ValueError("quantised is for a single adapter baked by linear, not by mergekit")
        _check_weights(method, [member.weight for member in self.models])
        return self

    @model_validator(mode="after")
    def _mergekit(self) -> Self:
        if isinstance(self.method, Mergekit) and self.engine != "mergekit":
            raise ValueError("method mergekit needs engine: mergekit")
        for member in self.models:
            if member.parameters and not isinstance(self.method, Mergekit):
                raise ValueError("parameters of a model are for methods of kind mergekit")
            if isinstance(self.method, Mergekit):
                known = [name for name in METHODS[self.method.name].each if name != "weight"]
                check_parameters(self.method.name, member.parameters, known)
        if self.engine == "mergekit":
            uses, weights = [member.use for member in self.models], [member.weight for member in self.models]
            check_mergekit(self.base, uses, weights, self.method, self.post)
        return self


def _check_weights(method: Kind, weights: list[Any]) -> None:
    """Weights, which may be schedules, must have a meaning in the formula. ValueError where they have none."""
    kind = method.kind
    every = [number for weight in weights for number in numbers(weight)]
    if not method.weighted and any(number != 1 for number in every):
        raise ValueError(f"{kind} takes no weights{'; alpha says how far to go' * (kind == 'interpolate')}")
    if not method.signed and min(every) < 0:
        why = "they are divided by their sum" if kind == "linear" else "signs or directions are averaged"
        raise ValueError(f"negative weights have no meaning in {kind}, where {why}; use task_arithmetic")
    counted = [any(met) for met in meeting(*((weight, 1.0) for weight in weights))]
    if kind in MEANS and not all(counted):
        somewhere = " at some tensors" if any(counted) else ""
        raise ValueError(f"the weights sum to 0{somewhere}, so their mean is not defined")
    if not any(counted):
        raise ValueError("all weights are 0, so nothing would be merged")


def shard_bytes(size: str | None) -> int | None:
    """The number of bytes that `5GB` or `500MB` means."""
    return int(float(size[:-2]) * {"MB": 10**6, "GB": 10**9}[size[-2:]]) if size else None


STAGE = Stage(
    "merge",
    2,
    MergeConfig,
    run="pipelines.merge.run:run",
    estimate="pipelines.merge.estimate:estimate",
    makes=lambda config: config.output,
    resumable=True,
)
