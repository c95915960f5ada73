"""What a stage is: a frozen config whose references are its dependencies, and the name of a function that runs it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema


class Config(BaseModel):
    """Base of every config: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class _Text(str):
    """A string whose class says what it stands for, so that a walk over values finds it."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(
            cls, core_schema.str_schema(min_length=1), serialization=core_schema.to_string_ser_schema()
        )


class Ref(_Text):
    """The name of another entry; the artifact it makes becomes an input of this stage."""

    wants: ClassVar[tuple[str, ...]] = ()


class ModelRef(Ref):
    """A model: a folder of full weights. An adapter named here is baked into its base first."""

    wants: ClassVar[tuple[str, ...]] = ("model",)


class WeightsRef(Ref):
    """A model or an adapter, whichever the entry makes."""

    wants = ("model", "adapter")


class DatasetRef(Ref):
    """A prepared dataset or a replay buffer: both hold tokenised rows in the same layout."""

    wants = ("dataset",)


class DataOrModelRef(Ref):
    """A dataset, or a model that writes one."""

    wants = ("dataset", "model")


class ScoresRef(Ref):
    wants = ("scores",)


class VerdictRef(Ref):
    wants = ("verdict",)


class ExportRef(Ref):
    """Weights as they are shipped: an export, or one of its formats as `entry.format`."""

    wants = ("export",)


class ServableRef(ModelRef):
    """A model, or an export of one, in which case the shipped weights themselves are meant."""

    wants = ("model", "export")


class AnyRef(Ref):
    """Any artifact."""

    wants = ("model", "adapter", "dataset", "scores", "verdict", "export")


class InputPath(_Text):
    """A file or folder that is read: its content, not its name, is part of the stage's identity."""


class Runtime:
    """Marks a field that says how or where to run, never what is made. It stays out of the key."""


RUNTIME = Runtime()


class Launch(Config):
    """How the processes of a stage are started."""

    processes: int | None = Field(None, ge=1, description="Processes on this machine; default 1, or the launcher's.")
    config: InputPath | None = Field(None, description="An accelerate configuration file (FSDP, DeepSpeed, nodes).")


@dataclass(frozen=True)
class Artifact:
    """A finished output: the folder `path`, the `kind` of thing in it and what its stage returned."""

    name: str
    kind: str
    path: Path
    key: str
    metrics: Mapping[str, Any] = field(default_factory=dict)


Inputs = Mapping[str, Artifact]
"""Artifacts by the value of the Ref that names them: `inputs[config.base]`."""


class Estimate(NamedTuple):
    """What making something takes: wall seconds, private memory and disk, both in bytes."""

    seconds: float
    peak_bytes: int
    bytes: int


@dataclass(frozen=True)
class Stage:
    """A verb of the pipeline.

    `run` names `run(config, inputs, out_dir) -> dict`: it fills `out_dir` and returns small JSON.
    `check` names a light `check(config) -> list[Problem]`, called before anything is started.
    `estimate` names a light `estimate(config, inputs) -> Estimate`, asked before the first time that something is made.
    `version` is raised whenever the same config would make something different.
    A `resumable` stage finds in `out_dir` what an earlier, killed attempt left there.
    A `launched` stage has a field `launch: Launch` and may run as several processes.
    `packages` names the distributions whose versions are part of what the stage makes, "python" among them.
    """

    name: str
    version: int
    config: type[Config]
    run: str
    makes: str | Callable[[Any], str]
    check: str = ""
    estimate: str = ""
    resumable: bool = False
    launched: bool = False
    packages: tuple[str, ...] = ()

    def kind(self, config: Config) -> str:
        """The kind of artifact that this config makes."""
        return self.makes if isinstance(self.makes, str) else self.makes(config)


def walk(value: Any) -> Iterator[Any]:
    """Every Ref and InputPath anywhere inside a config, in the order of its fields."""
    if isinstance(value, _Text):
        yield value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from walk(getattr(value, name))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from walk(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from walk(item)


def refs(config: Config) -> tuple[Ref, ...]:
    """The references of a config, each once."""
    return tuple(dict.fromkeys(item for item in walk(config) if isinstance(item, Ref)))


def input_paths(config: Config) -> tuple[InputPath, ...]:
    """The files and folders that a config reads, each once."""
    return tuple(dict.fromkeys(item for item in walk(config) if isinstance(item, InputPath)))
