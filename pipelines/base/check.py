"""What can be said of a base model before anything is started."""

import os
import re
from pathlib import Path

from pipelines.base.adapter import adapter_problems
from pipelines.base.config import BaseConfig
from pipelines.base.wheel import offline, parse_pin
from pipelines.errors import Problem, UserError
from pipelines.hf.folder import problems


def check(config: BaseConfig) -> list[Problem]:
    """Mistakes in the source: a folder that is no model, a wheel that is not pinned, a hub name that cannot be had."""
    if config.path is not None:
        return problems(Path(config.path))
    if config.adapter is not None:
        return adapter_problems(Path(config.adapter))
    if config.wheel is not None:
        try:
            parse_pin(config.wheel)
        except UserError as error:
            return list(error.problems)
        return []
    return _hub_problems(config.hub or "", config.revision)


def _hub_problems(repository: str, revision: str | None) -> list[Problem]:
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        return [
            Problem("hub", "is not the name of a repository", repository, "Write owner/name, or use path: for a folder")
        ]
    if offline() and not _cached(repository, revision or "main"):
        what = f"{repository}@{revision or 'main'} is not in the local cache and the network is off"
        return [Problem("hub", what, "", "Run once online, or name a local folder with path:")]
    return []


def _cached(repository: str, revision: str) -> bool:
    """Whether the hub's cache holds the snapshot. Layout: huggingface_hub, "Understand caching"."""
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    cache = Path(os.environ.get("HF_HUB_CACHE", home / "hub")) / f"models--{repository.replace('/', '--')}"
    reference = cache / "refs" / revision
    commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else revision
    return (cache / "snapshots" / commit).is_dir()
