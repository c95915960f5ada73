"""Real vLLM in its own environment: a session imports it once and serves one model after another.

The process that holds vLLM is `pipelines/serving/outside/vllm_servers.py`, asked over a socket. A guard between it and
this process sees to it that nothing outlives a stage that is killed.
"""

import contextlib
import json
import os
import secrets
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, TextIO
from urllib.parse import urlsplit

from urllib3.exceptions import HTTPError

from pipelines.engine.environment import scrubbed
from pipelines.engine.progress import progress
from pipelines.errors import UserError, wrong
from pipelines.serving.environments import Environment
from pipelines.serving.vllm.client import Client, connect
from pipelines.serving.vllm.ended import ended
from pipelines.serving.vllm.flags import adapter_flags, is_on_cpu

NAME = "model"
"""What a server calls the model; adapters have the names they are given."""
_SCRIPT = Path(__file__).parents[1] / "outside" / "vllm_servers.py"
_GUARD = "pipelines.serving.vllm.guard"
_IMPORT_SECONDS, _START_SECONDS, _LAG_SECONDS = 600, 1800, 2
_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_LOGGING_LEVEL": "INFO",
}
_ENDING = ["--shutdown-timeout", "5"]
"""Seconds. Without them vLLM kills its engine before that has given its shared memory back."""
_ON_CPU = {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_WAIT_POLICY": "PASSIVE", "TORCHDYNAMO_DISABLE": "1"}
"""A forked worker cannot be bound to cores: OpenMP has read its settings by then. Part of the sampler is compiled even
where vLLM is told to compile nothing, which takes ten seconds at the first request."""


class Session(NamedTuple):
    """A process that has imported vLLM, the folder of the logs of its servers, and their process ids by URL."""

    process: "subprocess.Popen[bytes]"
    connection: socket.socket
    lines: TextIO
    logs: Path
    tell: Callable[[Path], None]
    servers: dict[str, int]

    def serve(
        self,
        folder: Path,
        arguments: Sequence[str] = (),
        adapters: Mapping[str, Path] | None = None,
        concurrency: int = 8,
        where: str = "",
    ) -> AbstractContextManager[Client]:
        """A server of the folder, called `model`, and of adapters of it, until the block ends.

        It listens on a free port of this machine, behind a key made for it. UserError, told under `where` or else the
        folder's name, with vLLM's own last error where it refuses the folder or ends.
        """
        return _served(self, folder, [*arguments, *adapter_flags(adapters or {})], concurrency, where or folder.name)

    def said(self, client: Client) -> str:
        """What the server of this client has said so far."""
        return _log(self, client).read_text(encoding="utf-8", errors="replace")

    def private_bytes(self, client: Client) -> int:
        """Memory that the largest process of this client's server has for itself; 0 where the system does not say."""
        return int(_ask(self, "private_bytes", pid=self.servers[client.url]))


@contextlib.contextmanager
def session(environment: Environment, kv_gib: int = 1, log: Path | None = None) -> Iterator[Session]:
    """vLLM, imported once for all models that are served inside the block.

    `kv_gib`: memory for keys and values on a CPU, where vLLM by itself takes most of the machine's. What vLLM says is
    added to `log`, or to the log of the stage without one. UserError where it cannot be imported.
    """
    ours, theirs = socket.socketpair()
    with tempfile.TemporaryDirectory() as scratch, ours, ours.makefile("rw", encoding="utf-8") as lines:
        own = Path(scratch) / "session.log"
        with own.open("wb") as output, theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", _GUARD, str(environment.python), "-I", str(_SCRIPT), str(theirs.fileno())],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=_environment(environment, kv_gib),
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        found = Session(process, ours, lines, Path(scratch), _teller(log), {})
        try:
            _wait_for_import(found)
            yield found
        finally:
            assert process.stdin is not None
            with contextlib.suppress(OSError):
                ours.shutdown(socket.SHUT_RDWR)
            process.stdin.close()
            process.wait()
            found.tell(own)


@contextlib.contextmanager
def _served(live: Session, folder: Path, arguments: Sequence[str], concurrency: int, where: str) -> Iterator[Client]:
    key, port = secrets.token_hex(16), _free_port()
    place = ["--model", str(folder), "--served-model-name", NAME, "--host", "127.0.0.1", "--port", str(port), *_ENDING]
    client = connect(f"http://127.0.0.1:{port}/v1", "VLLM_API_KEY", key, concurrency, where)
    log = _log(live, client)
    asked = {"arguments": [*place, *arguments], "environment": {"VLLM_API_KEY": key}, "log": str(log)}
    pid = live.servers[client.url] = _ask(live, "start", **asked)
    try:
        _wait(live, pid, client, where)
        yield client
    except UserError as error:
        status = _status(live, pid, client)
        if status is None:
            raise
        raise ended(where, status, log) from error
    finally:
        try:
            _ask(live, "stop", pid=pid)
        finally:
            live.tell(log)


def _ask(live: Session, what: str, **values: Any) -> Any:
    """What the process with vLLM answers. UserError where it is gone."""
    with contextlib.suppress(OSError):
        live.lines.write(json.dumps({"do": what, **values}) + "\n")
        live.lines.flush()
        if line := live.lines.readline():
            return json.loads(line)["answer"]
    live.process.wait()
    raise ended("vLLM", live.process.returncode, live.logs / "session.log")


def _wait_for_import(live: Session) -> None:
    started = time.monotonic()
    while (seconds := time.monotonic() - started) < _IMPORT_SECONDS:
        progress(int(seconds), _IMPORT_SECONDS, "s of importing vLLM")
        if select.select([live.connection], [], [], 0.25)[0]:
            if live.lines.readline():
                return
            live.process.wait()
            raise ended("vLLM", live.process.returncode, live.logs / "session.log")
    raise wrong("vLLM", "cannot be imported", f"{_IMPORT_SECONDS} s", "Look into the log of the stage")


def _wait(live: Session, pid: int, client: Client, where: str) -> None:
    """Until the server answers. UserError where it ends before that, or does not answer in half an hour."""
    started = time.monotonic()
    while (seconds := time.monotonic() - started) < _START_SECONDS:
        status = _ask(live, "poll", pid=pid)
        if status is not None:
            raise ended(where, status, _log(live, client))
        progress(int(seconds), _START_SECONDS, "s of starting vLLM")
        if _is_well(client):
            return
        time.sleep(0.1)
    raise wrong(where, "vLLM does not answer", f"{_START_SECONDS} s", "Look into the log of the stage")


def _is_well(client: Client) -> bool:
    with contextlib.suppress(HTTPError):
        health = client.url.removesuffix("/v1") + "/health"
        return client.pool.request("GET", health, retries=False, timeout=2.0).status == 200
    return False


def _status(live: Session, pid: int, client: Client) -> int | None:
    """The exit status of a server that is gone, which may show a moment after its last answer."""
    deadline = time.monotonic() + _LAG_SECONDS
    while (status := _ask(live, "poll", pid=pid)) is None and time.monotonic() < deadline and not _is_well(client):
        time.sleep(0.1)
    return None if status is None else int(status)


def _log(live: Session, client: Client) -> Path:
    return live.logs / f"{urlsplit(client.url).port}.log"


def _teller(log: Path | None) -> Callable[[Path], None]:
    def tell(said: Path) -> None:
        with said.open(encoding="utf-8", errors="replace") as source, contextlib.ExitStack() as stack:
            into = sys.stderr if log is None else stack.enter_context(log.open("a", encoding="utf-8"))
            shutil.copyfileobj(source, into)

    return tell


def _environment(environment: Environment, kv_gib: int) -> dict[str, str]:
    """Whatever of vLLM's own is set already stays, but for the network and the telemetry."""
    path = f"{environment.python.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    found = scrubbed(os.environ) | _ENVIRONMENT | {"PATH": path}
    return _ON_CPU | {"VLLM_CPU_KVCACHE_SPACE": str(kv_gib)} | found | _threads() if is_on_cpu(environment) else found


def _threads() -> dict[str, str]:
    """One core is left to the engine, which never sleeps: without it, tokens came ten times slower on two cores."""
    cores = max(1, (os.cpu_count() or 1) - 1)
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return {"OMP_NUM_THREADS": str(min(cores, int(wanted)) if wanted.isdecimal() else cores)}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
