"""Stages small enough to test the engine with."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Annotated

from pipelines.engine.progress import progress
from pipelines.engine.stage import RUNTIME, AnyRef, Config, InputPath, Inputs, Launch, Stage
from pipelines.errors import wrong


class ToyConfig(Config):
    text: str = "a"
    of: tuple[AnyRef, ...] = ()
    file: InputPath | None = None
    do: str = ""
    workers: Annotated[int, RUNTIME] = 1


class CountConfig(Config):
    steps: int = 5
    launch: Annotated[Launch, RUNTIME] = Launch()


def run(config: ToyConfig, inputs: Inputs, out_dir: Path) -> dict[str, object]:
    """Write the text after the texts of the inputs, or misbehave as told."""
    if config.do == "refuse":
        raise wrong("toy.jsonl:3", "is no toy", "a stone", "Use a toy")
    if config.do == "crash":
        raise ZeroDivisionError("one by nought")
    if config.do == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    before = "".join((inputs[ref].path / "text").read_text() for ref in config.of if ref in inputs)
    (out_dir / "text").write_text(before + config.text)
    progress(1, 1, "texts")
    sys.stdout.write("worked\n")
    return {"length": len(before + config.text), "blocks": config.do == "block"}


def count(config: CountConfig, inputs: Inputs, out_dir: Path) -> dict[str, object]:
    """Count to `steps`, a line a step, going on where a killed attempt was."""
    path = out_dir / f"count-{os.environ.get('RANK', '0')}"
    for step in range(len(_read(path)), config.steps):
        with path.open("a") as file:
            file.write(str(step % 10))
        progress(step + 1, config.steps, "steps")
        time.sleep(0.02)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if path.name == "count-0":  # its return ends the stage, so it waits for the others, as a real stage's barrier does
        while not all(len(_read(out_dir / f"count-{rank}")) == config.steps for rank in range(world)):
            time.sleep(0.02)
    return {"world": world}


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


TOY = Stage("toy", 1, ToyConfig, run="tests.unit.engine.toy:run", makes="scores", packages=("pytest",))
COUNT = Stage("count", 1, CountConfig, run="tests.unit.engine.toy:count", makes="model", resumable=True, launched=True)
