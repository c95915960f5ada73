"""A folder reloaded in a fresh process of this environment, and what came out."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file

from pipelines.errors import Problem, UserError, wrong

_CHILD = "pipelines.serving.look.process"


class Reloaded(NamedTuple):
    """A folder as a process saw it that knew nothing but its path.

    `facts`: prompts and plain (token ids, in the template and without it), template, dtype, architecture, tied, stop
    (id), stops (whether generation ends there); `logits`: float32, [tokens, vocabulary] of each of prompts.
    """

    facts: dict[str, Any]
    logits: list[torch.Tensor]


def reload(folder: Path) -> Reloaded:
    """Load the folder in a new process. UserError with that process's own words where it cannot."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", _CHILD, str(folder), scratch]
        done = subprocess.run(command, env=_environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise wrong(str(folder), "cannot be loaded", _last_line(done), "Check its config.json")
        return read_answer(Path(scratch))


def _environment() -> dict[str, str]:
    """No network, as many threads as here; they wait asleep, for spinning doubles what a busy machine takes."""
    own = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(torch.get_num_threads())}
    return {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, **own}


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    """What a process that failed said last."""
    return (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]


def read_answer(scratch: Path) -> Reloaded:
    """What the process wrote. UserError where it found the folder broken."""
    facts = json.loads((scratch / "answer.json").read_text(encoding="utf-8"))
    if "problems" in facts:
        raise UserError(*(Problem(*problem) for problem in facts["problems"]))
    rows = load_file(scratch / "logits.safetensors")
    return Reloaded(facts, [rows[f"{at}"].clone() for at in range(len(rows))])
