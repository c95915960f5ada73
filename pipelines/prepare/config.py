"""Where rows come from, what they mean, and what becomes of them before training."""

from typing import Literal, Self

from pydantic import Field, model_validator

from pipelines.engine.stage import Config, InputPath, ModelRef, Stage

Format = Literal["messages", "prompt_completion", "alpaca", "sharegpt", "text"]


class Source(Config):
    """Files, a hub dataset, or one of the project's own generators. Exactly one of the three."""

    files: InputPath | tuple[InputPath, ...] | None = Field(
        None, description="JSONL, JSON, CSV or Parquet files, by their ending."
    )
    hub: str | None = Field(None, description="Hub dataset, owner/name.")
    revision: str | None = Field(None, description="Commit of the hub dataset.")
    subset: str | None = Field(None, description="Configuration of the hub dataset.")
    hub_split: str = Field("train", description="Split of the hub dataset to read.")
    card: InputPath | None = Field(None, description="Dataset card under data/ that states origin and licence.")
    generator: str | None = Field(None, description="Name of a generator of synthetic rows.")
    settings: InputPath | None = Field(None, description="YAML file with the generator's settings.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(source is not None for source in (self.files, self.hub, self.generator)) != 1:
            raise ValueError("name exactly one of files, hub and generator")
        return self


class Dedup(Config):
    """Removal of repeated rows; the first of its kind stays."""

    exact: bool = Field(True, description="Drop rows whose normalised text was seen before.")


class Split(Config):
    """Held-out parts, by a hash of the row's prompt: rows added later never move the old ones."""

    dev: float = Field(0.0, ge=0, lt=1, description="Share of the rows held out for development.")
    test: float = Field(0.0, ge=0, lt=1, description="Share of the rows held out for the test.")
    column: str | None = Field(None, description="Column that names the split of each row: train, dev or test.")

    @model_validator(mode="after")
    def _something_left(self) -> Self:
        if self.dev + self.test >= 1:
            raise ValueError("dev and test together leave nothing to train on")
        if self.column is not None and self.dev + self.test > 0:
            raise ValueError("name either the split's column or the shares of dev and test")
        return self


class PrepareConfig(Config):
    """One dataset: its source, the meaning of its columns, its template and its checks."""

    base: ModelRef = Field(ModelRef("base"), description="Model whose tokenizer and chat template are used.")
    source: Source
    format: Format = Field("messages", description="What a row is.")
    columns: dict[str, str] = Field(
        {},
        description="Role of the format (prompt, completion, messages, text, instruction, input, output, "
        "conversations, system, source) to a column's name, or to a text with {column} in it.",
    )
    system: str | None = Field(None, description="System turn put before rows that have none.")
    dedup: Dedup = Dedup()
    split: Split = Split()
    max_length: int = Field(1024, ge=8, description="Longest row in tokens, template included.")
    on_too_long: Literal["drop", "truncate"] = Field("drop", description="What happens to longer rows.")
    limit: int | None = Field(None, ge=1, description="Keep a seeded sample of at most this many training rows.")
    seed: int = Field(0, description="Seed of the sample and of the generator.")


STAGE = Stage(
    "prepare", 1, PrepareConfig, run="pipelines.prepare.run:run", check="pipelines.prepare.check:check", makes="dataset"
)
