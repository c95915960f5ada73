"""Which models are to be judged before they are merged, and what the recipe knows of where they come from."""

from pydantic import Field

from pipelines.engine.stage import Config, DatasetRef, ModelRef, Stage, WeightsRef


class Parent(Config):
    """What the recipe knows of one model. A model that it does not train has neither `method` nor `data`."""

    name: str
    adapter: bool = False
    method: str = Field("", description="How it was trained last: full, lora or qlora.")
    data: tuple[str, ...] = Field((), description="Datasets that it was trained on since the base.")
    foreign: str = Field("", description="Another model than the base that it goes back to.")
    source: str = Field("", description="How recipe lines state a model that has no name of its own: {path: ...}.")

    @property
    def stated(self) -> str:
        """What recipe lines have where this model is meant."""
        return self.source or self.name


class Lineage(Config):
    """What the recipe knows of the models together."""

    base: str = Field("base", description="Name of their common base.")
    parents: tuple[Parent, ...] = Field(min_length=1)
    differ: tuple[str, ...] = Field((), description="Settings in which their training runs differ.")
    training: str = Field(
        "", description="Method and learning rate of the first training run, as recipe lines have it."
    )
    replay: str = Field("", description="A replay buffer that the recipe fills.")
    objective: str = Field("", description="What the recipe selects by, as a search has it.")
    suite: str = Field("dev", description="Suite that the recipe selects on.")
    files: tuple[str, ...] = Field((), description="Files of all their datasets, where one dataset can read them all.")

    @property
    def adapters(self) -> bool:
        """Whether every model is an adapter."""
        return all(parent.adapter for parent in self.parents)

    @property
    def has_data(self) -> bool:
        """Whether the recipe holds the training data of every model."""
        return all(parent.data for parent in self.parents)

    @property
    def same_data(self) -> bool:
        """Whether all were trained on the same datasets."""
        return self.has_data and len({frozenset(parent.data) for parent in self.parents}) == 1

    @property
    def domains(self) -> int:
        """How many different things were learned; a model of unknown data counts as one."""
        return len({frozenset(parent.data) or parent.name for parent in self.parents})

    @property
    def datasets(self) -> tuple[str, ...]:
        """All datasets, each once."""
        return tuple(dict.fromkeys(name for parent in self.parents for name in parent.data))


class Judged(Config):
    """One of the models; `loss_on` is the dataset on whose rows its loss is to be measured."""

    use: WeightsRef
    loss_on: DatasetRef | None = None


class AdviceConfig(Config):
    """What should become of some models of one base."""

    base: ModelRef
    models: tuple[Judged, ...] = Field(min_length=1)
    lineage: Lineage


# The version is raised with every rule, threshold and measure: the artifact holds what they said.
STAGE = Stage("advice", 2, AdviceConfig, run="pipelines.merge.advice.advise:run", makes="advice")
