"""Where an export is, and the command that serves it."""

import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from pipelines.engine.stage import Artifact
from pipelines.serving.beside import SERVING


def where(artifact: Artifact) -> Iterator[str]:
    """The folder of an export that is served, with its `vllm serve` line; of anything else its own folder.

    Where an adapter was asked for, its folder too, or why there is none.
    """
    folder = artifact.path / str(artifact.metrics["folder"]) if "folder" in artifact.metrics else artifact.path
    yield f"{artifact.name}: {shown(folder)}"
    if command := _command(folder):
        yield f"  {shlex.join(shown(folder) if word == '.' else word for word in command)}"
    if adapter := artifact.metrics.get("adapter"):
        beside, why = artifact.path / "adapter", "; ".join(adapter["why"])
        yield f"  its adapter: {shown(beside) if adapter['shipped'] else f'not shipped by itself: {why}'}"


def shown(path: Path) -> str:
    """The path from here when it lies below, else in full."""
    return os.fspath(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else os.fspath(path)


def _command(folder: Path) -> list[str]:
    """What SERVING.json says; nothing where vLLM does not serve the folder."""
    file = folder / SERVING
    told = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    command: list[str] = told.get("vllm", {}).get("command", [])
    return command
