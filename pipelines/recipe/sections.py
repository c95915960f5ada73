"""The sections of a recipe and the config class of each; the entries' own fields are described in the rooms."""

from typing import Literal

from pydantic import ConfigDict, Field

from pipelines.base.config import BaseConfig
from pipelines.engine.stage import Config, Launch, ModelRef, ServableRef
from pipelines.evaluate.config import Backend, EvaluateConfig, Hf, Suite
from pipelines.export.config import ExportEntry
from pipelines.gate.config import Gate
from pipelines.prepare.config import PrepareConfig
from pipelines.replay.config import ReplayConfig
from pipelines.report.config import ReportEntry
from pipelines.search.config import MergeEntry
from pipelines.select.config import SelectEntry
from pipelines.train.config import TrainConfig

ENTRIES: dict[str, type[Config]] = {
    "data": PrepareConfig,
    "replay": ReplayConfig,
    "train": TrainConfig,
    "merge": MergeEntry,
    "select": SelectEntry,
    "export": ExportEntry,
}
"""Sections whose entries have names of the user's choice."""

NAME = r"^[A-Za-z0-9_][A-Za-z0-9_-]*$"
"""What entries, suites and recipes may be called: the signs that node ids are made with are left out."""

RESERVED = ("base", "gate", "report")


class Head(Config):
    """What is said about the recipe itself."""

    burnish: Literal[1] = Field(description="Version of the recipe format.")
    name: str = Field("", pattern=r"^([A-Za-z0-9_][A-Za-z0-9_-]*)?$", description="Name of runs and reports.")
    extends: str | None = Field(None, description="Recipe that this one is laid over, relative to this file.")
    seed: int = Field(0, description="Seed of every entry that states none.")


class EvaluateSection(Config):
    """Suites of measurements, and the models that they are run on besides the base."""

    suites: dict[str, Suite] = Field({}, description="Name to a suite, or to the path of a file that holds one.")
    candidate: ServableRef | None = Field(
        None, description="Model that the gates judge; default: what is exported, else selected, else made last."
    )
    models: tuple[ServableRef, ...] = Field((), description="Models that are measured and shown, but not judged.")
    seeds: tuple[ModelRef, ...] = Field(
        (), description="Models made like the candidate with other seeds: what a seed changes is told beside each gate."
    )
    backend: Backend = Field(Hf(), description=EvaluateConfig.model_fields["backend"].description)
    launch: Launch = Field(Launch(), description=EvaluateConfig.model_fields["launch"].description)
    batch_size: int = Field(
        EvaluateConfig.model_fields["batch_size"].default,
        ge=1,
        description=EvaluateConfig.model_fields["batch_size"].description,
    )
    max_length: int | None = Field(None, ge=16, description=EvaluateConfig.model_fields["max_length"].description)


class Sections(Head):
    """A recipe: from a base model and data to weights and a verdict."""

    model_config = ConfigDict(defer_build=True, title="Burnish recipe")

    base: BaseConfig | None = Field(None, description="The model that everything starts from and is compared with.")
    data: dict[str, PrepareConfig] = Field({}, description="Datasets, by name.")
    replay: dict[str, ReplayConfig] = Field({}, description="Replay buffers, by name.")
    train: dict[str, TrainConfig] = Field({}, description="Training runs, by name; each makes an adapter or a model.")
    merge: dict[str, MergeEntry] = Field({}, description="Merges, by name; each makes a model.")
    select: dict[str, SelectEntry] = Field({}, description="Choices among models, by name; each makes a model.")
    evaluate: EvaluateSection | None = Field(None, description="What models are measured on.")
    gates: tuple[Gate, ...] = Field((), description="What must hold for the candidate against the base.")
    export: dict[str, ExportEntry] = Field({}, description="Weights to ship, by name; made when the gates pass.")
    report: ReportEntry = Field(ReportEntry(), description="The page that a reviewer reads.")
