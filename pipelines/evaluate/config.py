"""What a model is measured on: lm-eval tasks, plain text, and drift from the base."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipelines.engine.stage import RUNTIME, Config, DatasetRef, InputPath, Launch, ModelRef, ServableRef, Stage

TARGET, GENERAL = "target", "general"


class Documents(Config):
    """Where a task's documents are: a split of one of the recipe's datasets, or a local file."""

    dataset: DatasetRef | None = Field(None, description="Dataset of the recipe.")
    split: str = Field("test", description="Its split: dev or test.")
    file: InputPath | None = Field(None, description="JSONL, JSON, CSV or Parquet file.")
    examples: InputPath | None = Field(
        None, description="File that examples in the prompt are taken from; default: the dataset's training split."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.dataset is None) == (self.file is None):
            raise ValueError("name exactly one of dataset and file")
        return self


class Task(Config):
    """One lm-eval task."""

    task: str | None = Field(None, description="Name of a built-in lm-eval task.")
    file: InputPath | None = Field(None, description="Path of a task YAML of your own.")
    needs: tuple[InputPath, ...] = Field((), description="Files that the YAML includes or takes functions from.")
    documents: Documents | None = Field(None, description="Default: what the task itself names.")
    metric: str = Field(description="Metric that is gated and reported, declared before it is seen.")
    filter: str = Field("none", description="lm-eval filter of that metric.")
    group: str = Field(TARGET, description="What the task speaks for: target, general, format, …")
    shots: int | None = Field(None, ge=0, description="Examples in the prompt; default: the task's own, else none.")
    limit: int | None = Field(None, ge=1, description="Size of a seeded random sample of the documents.")
    chat_template: bool = Field(True, description="Put the prompt through the chat template.")
    cluster_by: str | None = Field(
        None,
        description="Column of the documents whose equal values belong together: a passage, a template.",
    )
    show: Literal["changes", "all"] = Field(
        "changes", description="Answers in the report: those that changed, or all, as of canary prompts."
    )

    @model_validator(mode="after")
    def _one_task(self) -> Self:
        if (self.task is None) == (self.file is None):
            raise ValueError("name exactly one of task and file")
        return self


class Text(Config):
    """Bits per byte of plain text; lower is better."""

    files: InputPath | tuple[InputPath, ...] | None = Field(
        None, description="Text files, a document a paragraph, or JSONL with a text key, a document a line."
    )
    python_topics: bool = Field(False, description="The prose of pydoc_data.topics, which every Python carries.")
    split: Literal["dev", "test"] | None = Field(
        None, description="One half of the documents, by a hash of their text; dev and test share none."
    )
    group: str = GENERAL
    limit: int | None = Field(None, ge=1, description="Size of a seeded random sample of the documents.")
    max_bytes: int | None = Field(
        None, ge=1, description="Longest document in UTF-8 bytes; the rest of it is left out."
    )
    max_length: int = Field(512, ge=16, description="Longest window in tokens.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.files is None) == (not self.python_topics):
            raise ValueError("name exactly one of files and python_topics")
        return self


class Drift(Config):
    """KL divergence from the base and top-1 agreement with it, on the answers of chats; lower KL is better."""

    dataset: DatasetRef
    split: str = "test"
    group: str = Field("drift", description="A group of its own by default: a drift is no gain and no loss.")
    limit: int | None = Field(None, ge=1, description="Size of a seeded random sample of the rows.")


class Suite(Config):
    """A named set of measurements; scores are called tickets/exact_match, pydoc/bits_per_byte, chats/kl."""

    tasks: dict[str, Task] = {}
    texts: dict[str, Text] = {}
    drift: dict[str, Drift] = {}
    sample_seed: int = Field(0, description="Seed of the samples of documents; that of the recipe does not move them.")

    @model_validator(mode="after")
    def _names(self) -> Self:
        names = [*self.tasks, *self.texts, *self.drift]
        if not names:
            raise ValueError("a suite needs at least one of tasks, texts and drift")
        for name in names:
            if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", name):
                raise ValueError(f"{name!r} names a file: use letters, digits, dash and underscore")
            if names.count(name) > 1:
                raise ValueError(f"{name!r} is used twice; tasks, texts and drift share their names")
        return self


class Hf(Config):
    """transformers, in this process: the model as it lies in its folder."""

    kind: Literal["hf"] = "hf"


class Vllm(Config):
    """vLLM, in an environment of its own: the model is served on this machine for as long as it is measured."""

    kind: Literal["vllm"]
    environment: Annotated[str | None, RUNTIME] = Field(
        None, description="Its virtual environment; default: the one that `burnish doctor --install vllm` makes."
    )
    dtype: Literal["auto", "half", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="auto: that of the files; half: the same, but bfloat16 for float32, as quantised weights are.",
    )
    arguments: dict[str, str | int | float | bool] = Field({}, description="Further arguments of `vllm serve`.")


class Server(Config):
    """Any OpenAI-compatible server that gives log-probabilities of prompts. Which weights it serves is its word."""

    kind: Literal["server"]
    url: Annotated[str, RUNTIME] = Field(pattern=r"^https?://", description="Base URL, such as http://host:8000/v1.")
    models: dict[str, str] = Field({}, description="Model of the recipe to its name there; default: the same name.")
    api_key: Annotated[str, RUNTIME] = Field("OPENAI_API_KEY", description="Environment variable that holds the key.")
    concurrency: Annotated[int, RUNTIME] = Field(8, ge=1, description="Requests at once.")


Backend = Annotated[Hf | Vllm | Server, Field(discriminator="kind")]


class EvaluateConfig(Config):
    """One model on one suite; makes scores."""

    model: ServableRef
    base: ModelRef = Field(ModelRef("base"), description="Model that drift is measured from.")
    suite: Suite
    backend: Backend = Field(Hf(), description="What runs the model.")
    batch_size: int = Field(
        16, ge=1, description="Rows at once; part of the identity, because it moves log-probabilities."
    )
    max_length: int | None = Field(None, ge=16, description="Longest prompt in tokens; default: the model's.")
    launch: Annotated[Launch, RUNTIME] = Field(Launch(), description="Processes that share the batches.")


def score_groups(suite: Suite) -> dict[str, str]:
    """Every score that a suite makes and its group, without measuring anything: what a gate may name."""
    groups = {f"{name}/{task.metric}": task.group for name, task in suite.tasks.items()}
    groups |= {f"{name}/bits_per_byte": text.group for name, text in suite.texts.items()}
    for name, drift in suite.drift.items():
        groups |= {f"{name}/kl": drift.group, f"{name}/agreement": drift.group}
    return groups


STAGE = Stage(
    "evaluate",
    2,
    EvaluateConfig,
    run="pipelines.evaluate.run:run",
    check="pipelines.evaluate.check:check",
    makes="scores",
    resumable=True,
    launched=True,
    packages=("lm-eval", "transformers", "torch", "python"),
)
