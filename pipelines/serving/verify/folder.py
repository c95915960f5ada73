"""Whether a folder may be served: the checks that load nothing, and what kind of folder it is."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pipelines.errors import UserError
from pipelines.hf.folder import CONFIG
from pipelines.serving.environments import Name, missing
from pipelines.serving.lint.folder import lint
from pipelines.serving.lint.values import scan
from pipelines.serving.verify.steps import Asked, Step, found

Kind = Literal["model", "adapter", "gguf"]
_ADAPTER = "adapter_config.json"


def served_folders(folder: Path) -> list[Path]:
    """The folder itself, or those inside it where it is what an export made, a folder a format."""
    inner = sorted(path for path in folder.iterdir() if path.is_dir() and _is_served(path))
    return inner if inner and not _is_served(folder) else [folder]


def kind(folder: Path) -> Kind:
    """What the folder holds; a model, where it does not say."""
    if (folder / CONFIG).is_file():
        return "model"
    if (folder / _ADAPTER).is_file():
        return "adapter"
    return "gguf" if any(folder.glob("*.gguf")) else "model"


def static_steps(asked: Asked) -> Iterator[Step]:
    """The rules on headers and configs; then, unless only these were asked for, every value of the weights.

    UserError where an engine was asked for by name and is not installed.
    """
    wanted: list[Name] = [engine for engine in asked.engines if engine != "none"]
    if absent := [problem for name in wanted for problem in missing(name, "--engine")]:
        raise UserError(*absent)
    yield found("rules", lint(asked.folder, base=asked.base if kind(asked.folder) == "adapter" else None))
    if not asked.static and kind(asked.folder) == "model":
        yield found("values", scan(asked.folder))


def _is_served(folder: Path) -> bool:
    return (folder / CONFIG).is_file() or kind(folder) != "model"
