"""What is replayed against forgetting, and how a buffer of it is filled."""

from typing import Annotated, Literal

from pydantic import Field

from pipelines.engine.stage import RUNTIME, Config, DataOrModelRef, InputPath, ModelRef, Stage


class Uniform(Config):
    """A seeded sample of old data, each domain's share proportional to its size to the power of `balance`."""

    kind: Literal["uniform"]
    balance: float = Field(1.0, ge=0, le=1, description="1 keeps the domains' proportions, 0 makes them equal.")


class SelfWritten(Config):
    """Chats that the base model writes itself, so that no old data is needed."""

    kind: Literal["self"]
    prompts: InputPath | None = Field(None, description="Seed prompts, one a line; default: the project's own list.")
    temperature: float = Field(0.7, ge=0, description="Sampling temperature; 0 is greedy.")
    top_p: float = Field(0.95, gt=0, le=1, description="Nucleus of the sampling.")
    max_new_tokens: int = Field(96, ge=4, description="Longest answer, in tokens.")
    min_new_tokens: int = Field(8, ge=1, description="Answers shorter than this are dropped.")
    batch_size: Annotated[int, RUNTIME] = Field(32, ge=1, description="Prompts answered at once.")


Policy = Annotated[Uniform | SelfWritten, Field(discriminator="kind")]


class ReplayConfig(Config):
    """A replay buffer: tokenised rows in the layout of a prepared dataset."""

    base: ModelRef = Field(ModelRef("base"), description="Model whose tokenizer and chat template are used.")
    from_: DataOrModelRef = Field(alias="from", description="Dataset that is sampled, or model that writes.")
    policy: Policy = Uniform(kind="uniform")
    size: int = Field(500, ge=1, description="Rows in the buffer.")
    held_out: float = Field(
        0.0, ge=0, lt=1, description="Share of the rows kept apart, as split test, for measuring drift."
    )
    max_length: int = Field(1024, ge=8, description="Longest row in tokens.")
    seed: int = Field(0, description="Seed of the sample.")


STAGE = Stage(
    "replay",
    1,
    ReplayConfig,
    run="pipelines.replay.run:run",
    check="pipelines.replay.check:check",
    makes="dataset",
    resumable=True,
)
