"""A script of `outside/`, run under another environment's Python for as long as this process lives."""

import functools
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.engine.environment import scrubbed
from pipelines.engine.orphans import die_with_parent
from pipelines.engine.progress import progress
from pipelines.errors import wrong
from pipelines.serving.environments import Environment

SCRIPTS = Path(__file__).parent / "outside"
_LOG = "all that it said is in the log of the stage"
_SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    "DO_NOT_TRACK": "1",
    # Sets of names are walked in the order of their hashes, which would be another in every process.
    "PYTHONHASHSEED": "0",
    # MKL splits sums by the number of threads; in this mode the number changes no bit of the result.
    "MKL_CBWR": "AUTO,STRICT",
    "OMP_WAIT_POLICY": "PASSIVE",
}


def ask(environment: Environment, script: str, request: Mapping[str, Any], unit: str) -> dict[str, Any]:
    """What `script` answers to the request. `unit` names what it counts on its way.

    UserError in one line where it gives up, fails or is killed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        asked, answer = Path(scratch) / "request.json", Path(scratch) / "answer.json"
        asked.write_text(json.dumps(request), encoding="utf-8")
        # -P: without it a script hides the package that it is named for.
        command = [environment.python, "-P", "-s", SCRIPTS / script, asked, answer]
        with subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            env=_variables(environment),
            preexec_fn=functools.partial(die_with_parent, os.getpid()),
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if found := re.fullmatch(r"\[(\d+), (\d+)\]\n", line):
                    progress(int(found[1]), int(found[2]), unit)
        if process.returncode:
            raise _ended(environment, process.returncode)
        said: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    if "problem" in said:
        raise wrong(environment.name, "cannot do this", str(said["problem"])[:300], f"Look why: {_LOG}")
    return said


def _ended(environment: Environment, status: int) -> Exception:
    if status == -9:
        return wrong(environment.name, "was killed", "signal 9", "Most likely memory ran out: take a larger machine")
    return wrong(environment.name, "ended", f"exit status {status}", f"Install it again, or look why: {_LOG}")


def _variables(environment: Environment) -> dict[str, str]:
    """Nothing of this Python's own, which would be of another version."""
    own = {name: value for name, value in scrubbed(os.environ).items() if not name.startswith("PYTHON")}
    path = f"{environment.python.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return own | _SETTINGS | {"PATH": path}
