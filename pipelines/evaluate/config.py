"""What a model is measured on: lm-eval tasks, plain text, and drift from the base."""

from typing import Self

from pydantic import Field, model_validator

from pipelines.engine.stage import Config, DatasetRef, InputPath, ModelRef, Stage

TARGET, GENERAL = "target", "general"


class Documents(Config):
    """Where a task's documents are: a split of one of the recipe's datasets, or a local file."""

    dataset: DatasetRef | None = Field(None, description="Dataset of the recipe.")
    split: str = Field("test", description="Its split: dev or test.")
    file: InputPath | None = Field(None, description="JSONL, JSON, CSV or Parquet file.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.dataset is None) == (self.file is None):
            raise ValueError("name exactly one of dataset and file")
        return self


class Task(Config):
    """One lm-eval task."""

    task: str | None = Field(None, description="Name of a built-in lm-eval task.")
    file: InputPath | None = Field(None, description="Path of a task YAML of your own.")
    documents: Documents | None = Field(None, description="Default: what the task itself names.")
    metric: str = Field(description="Metric that is gated and reported, declared before it is seen.")
    filter: str = Field("none", description="lm-eval filter of that metric.")
    group: str = Field(TARGET, description="What the task speaks for: target, general, format, …")
    shots: int = Field(0, ge=0)
    limit: int | None = Field(None, ge=1, description="Size of a seeded random sample of the documents.")
    chat_template: bool = Field(True, description="Put the prompt through the chat template.")
    lower_is_better: bool = False

    @model_validator(mode="after")
    def _one_task(self) -> Self:
        if (self.task is None) == (self.file is None):
            raise ValueError("name exactly one of task and file")
        return self


class Text(Config):
    """Bits per byte of plain text; lower is better."""

    files: InputPath | tuple[InputPath, ...] | None = Field(None, description="Text files, or JSONL with a text key.")
    python_topics: bool = Field(False, description="The prose of pydoc_data.topics, which every Python carries.")
    group: str = GENERAL
    limit: int | None = Field(None, ge=1, description="Size of a seeded random sample of the documents.")
    max_length: int = Field(512, ge=16, description="Longest window in tokens.")


class Drift(Config):
    """KL divergence from the base and top-1 agreement with it, on the answers of chats; lower KL is better."""

    dataset: DatasetRef
    split: str = "test"
    group: str = GENERAL
    limit: int | None = Field(None, ge=1)


class Suite(Config):
    """A named set of measurements; scores are called tickets/exact_match, pydoc/bits_per_byte, chats/kl."""

    tasks: dict[str, Task] = {}
    texts: dict[str, Text] = {}
    drift: dict[str, Drift] = {}


class EvaluateConfig(Config):
    """One model on one suite; makes scores."""

    model: ModelRef
    base: ModelRef = Field(ModelRef("base"), description="Model that drift is measured from.")
    suite: Suite
    seed: int = Field(0, description="Seed of the samples of documents.")
    batch_size: int = Field(
        16, ge=1, description="Rows at once; part of the identity, because it moves log-probabilities."
    )
    max_length: int | None = Field(None, ge=16, description="Longest prompt in tokens; default: the model's.")


STAGE = Stage("evaluate", 1, EvaluateConfig, run="pipelines.evaluate.run:run", makes="scores")
