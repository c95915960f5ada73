"""Whether a folder may be served: every check of it in turn, from headers alone to a real server."""

from collections.abc import Iterator
from pathlib import Path

from pipelines.engine.worker import load_attribute
from pipelines.errors import UserError
from pipelines.hf.folder import CONFIG
from pipelines.serving.environments import Name, missing
from pipelines.serving.lint.folder import lint
from pipelines.serving.lint.values import scan
from pipelines.serving.verify.steps import Asked, Step, found

ADAPTER = "adapter_config.json"
_LOADING = {True: "pipelines.serving.verify.adapter:adapter_steps", False: "pipelines.serving.verify.model:model_steps"}
"""What loads an adapter, or a model: by name, for rules on headers need none of it."""


def served_folders(folder: Path) -> list[Path]:
    """The folder itself, or those inside it where it is what an export made, a folder a format."""
    inner = sorted(path for path in folder.iterdir() if path.is_dir() and _is_served(path))
    return inner if inner and not _is_served(folder) else [folder]


def verify(asked: Asked) -> Iterator[Step]:
    """Every check of a folder, the cheapest first. Nothing is loaded from a folder that a rule refuses.

    UserError where an engine was asked for by name and is not installed.
    """
    wanted: list[Name] = [engine for engine in asked.engines if engine != "none"]
    if absent := [problem for name in wanted for problem in missing(name, "--engine")]:
        raise UserError(*absent)
    adapter = _is_adapter(asked.folder)
    rules = found("rules", lint(asked.folder, base=asked.base if adapter else None))
    yield rules
    if asked.static:
        return
    values = found("values", [] if adapter else scan(asked.folder))
    yield values
    if "refused" in (rules.state, values.state):
        yield Step("loading", "skipped", "nothing is loaded before that is mended")
        return
    yield from load_attribute(_LOADING[adapter])(asked)


def _is_adapter(folder: Path) -> bool:
    return (folder / ADAPTER).is_file() and not (folder / CONFIG).is_file()


def _is_served(folder: Path) -> bool:
    return (folder / CONFIG).is_file() or _is_adapter(folder) or any(folder.glob("*.gguf"))
