"""How a model is trained: on what, by which method, with how much replay."""

from typing import Annotated, Any, Literal

from pydantic import Field

from pipelines.engine.stage import RUNTIME, Config, DatasetRef, Launch, ModelRef, Stage


class Full(Config):
    """Every weight is trained."""

    kind: Literal["full"]


class Lora(Config):
    """Low-rank adapters (Hu et al. 2021, arXiv 2106.09685)."""

    kind: Literal["lora"]
    rank: int = Field(16, ge=1, description="Rank of the adapters.")
    alpha: float | None = Field(None, gt=0, description="Scale; default: twice the rank.")
    dropout: float = Field(0.0, ge=0, lt=1)
    targets: str | tuple[str, ...] = Field("all-linear", description="Modules that get an adapter.")
    rslora: bool = Field(False, description="Scale by alpha/sqrt(rank) (arXiv 2312.03732).")


class QLora(Lora):
    """LoRA on a base held in 4-bit NormalFloat (Dettmers et al. 2023, arXiv 2305.14314)."""

    kind: Literal["qlora"]  # type: ignore[assignment]
    double_quant: bool = Field(True, description="Quantise the quantisation constants too.")


Method = Annotated[Full | Lora | QLora, Field(discriminator="kind")]


class ReplayMix(Config):
    """Old rows mixed into every batch."""

    from_: DatasetRef = Field(alias="from", description="Replay buffer or dataset.")
    ratio: float = Field(0.05, gt=0, lt=1, description="Share of the loss tokens that are replayed.")


class Checkpoints(Config):
    """Weights that are kept along the way, for their average (LAWA, Kaddour 2022, arXiv 2209.14981)."""

    every: int = Field(ge=1, description="Optimizer steps between two of them, counted back from the last step.")
    last: int = Field(ge=2, description="How many there are, the final weights among them.")


class TrainConfig(Config):
    """One training run; makes an adapter (lora, qlora) or a model (full)."""

    base: ModelRef = Field(ModelRef("base"), description="Model that training starts from.")
    on: DatasetRef = Field(description="Dataset that is trained on.")
    replay: ReplayMix | None = None
    method: Method
    epochs: float = Field(1.0, gt=0, description="Passes over the dataset.")
    max_steps: int | None = Field(None, ge=1, description="Stop after this many optimizer steps; overrides epochs.")
    learning_rate: float = Field(gt=0, description="Peak learning rate.")
    schedule: Literal["linear", "cosine", "constant"] = "cosine"
    warmup: float = Field(0.05, ge=0, lt=1, description="Share of the steps that warm up.")
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    batch_size: int = Field(8, ge=1, description="Rows per optimizer step, over all processes.")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="Type of the maths while training.")
    checkpoints: Checkpoints | None = Field(None, description="Earlier weights to keep beside the final ones.")
    seed: int = 0
    micro_batch_size: Annotated[int | None, RUNTIME] = Field(
        None, ge=1, description="Rows per forward pass and process; default: batch_size over the processes."
    )
    checkpoint_every: Annotated[int, RUNTIME] = Field(
        50, ge=1, description="Steps between the saves that a stopped run goes on from."
    )
    gradient_checkpointing: Annotated[bool, RUNTIME] = Field(
        False, description="Recompute activations: slower, less memory."
    )
    launch: Annotated[Launch, RUNTIME] = Launch()


def _makes(config: Any) -> str:
    return "model" if config.method.kind == "full" else "adapter"


STAGE = Stage(
    "train",
    1,
    TrainConfig,
    run="pipelines.train.run:run",
    makes=_makes,
    check="pipelines.train.check:check",
    resumable=True,
    launched=True,
)
