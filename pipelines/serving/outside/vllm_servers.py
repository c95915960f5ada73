"""OpenAI servers of one model each that share one import of vLLM.

    python -I vllm_servers.py DESCRIPTOR

The descriptor is a socket. One JSON line is told there when vLLM is imported; then every line read is answered by one:
start (arguments, environment, log) by the process id, poll and stop (process id) by the exit status or null, and
private_bytes (process id) by a number. When the socket closes, every server is ended.
"""

import contextlib
import ctypes
import importlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import torch
import vllm.envs
import vllm.v1.engine.async_llm
import vllm.v1.engine.core
from vllm.entrypoints.launchers.api_server import entry
from vllm.model_executor.models import registry
from vllm.platforms import current_platform

_PR_SET_PDEATHSIG = 1
_GRACE_SECONDS = 10
_ended: dict[int, int] = {}
_running: set[int] = set()


def start(arguments: list[str], environment: dict[str, str], log: str) -> int:
    """A server in a process group of its own. Once CUDA is initialised here, it has to import vLLM anew."""
    output = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        command = [sys.executable, "-I", "-m", "vllm.entrypoints.openai.api_server", *arguments]
        added = os.environ | environment
        pid = subprocess.Popen(command, stdout=output, stderr=output, env=added, start_new_session=True).pid
    else:
        pid = os.fork()
        if pid == 0:
            _serve(arguments, environment, output)
    os.close(output)
    _running.add(pid)
    return pid


def _serve(arguments: list[str], environment: dict[str, str], output: int) -> NoReturn:
    """In the forked process: what `python -m vllm.entrypoints.openai.api_server` does."""
    status = 1
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _die_with(os.getppid())
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.environ.update(environment)
        sys.argv = ["vllm", *arguments]
        entry.main()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
        sys.stderr.write(end.code if isinstance(end.code, str) else "")
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def poll(pid: int) -> int | None:
    """The exit status, negative for a signal; None while the server runs."""
    if pid in _running:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            _running.discard(pid)
            _ended[pid] = os.waitstatus_to_exitcode(status)
    return _ended.get(pid)


def stop(pid: int) -> int | None:
    """The whole group is told to end and soon after made to, for engines may outlive their server."""
    with contextlib.suppress(ProcessLookupError):
        if poll(pid) is None:
            os.killpg(pid, signal.SIGTERM)
            deadline = time.monotonic() + _GRACE_SECONDS
            while poll(pid) is None and time.monotonic() < deadline:
                time.sleep(0.02)
        os.killpg(pid, signal.SIGKILL)
    while poll(pid) is None:
        time.sleep(0.02)
    return poll(pid)


def private_bytes(pid: int) -> int:
    """The most memory that one process of the group has for itself; what is shared with this one is left out."""
    found = [0]
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[2]) == pid:
                kib = re.findall(r"Private_Dirty: +(\d+) kB", (stat.parent / "smaps_rollup").read_text())
                found += [int(number) * 1024 for number in kib]
    return max(found)


def fork_without_a_gpu() -> None:
    """On a CPU vLLM asks for fresh processes, each of which would import it again, in fear of OpenMP and of CUDA.

    Nothing here runs OpenMP before the fork, and there is no CUDA to initialise.
    """
    importlib.import_module("vllm.v1.worker.cpu_worker")
    importlib.import_module("vllm.v1.worker.cpu_model_runner")
    vllm.envs.environment_variables["VLLM_WORKER_MULTIPROC_METHOD"] = lambda: "fork"
    registry._run_in_subprocess = lambda inspect: inspect()


def main(descriptor: int) -> None:
    """Answer until the socket closes."""
    if current_platform.is_cpu():
        fork_without_a_gpu()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    known: dict[str, Callable[..., Any]] = {"start": start, "poll": poll, "stop": stop, "private_bytes": private_bytes}
    with socket.socket(fileno=descriptor) as connection, connection.makefile("rw", encoding="utf-8") as lines:
        os.set_inheritable(descriptor, False)
        _tell(lines, {"ready": True})
        try:
            for line in lines:
                asked = json.loads(line)
                _tell(lines, {"answer": known[asked.pop("do")](**asked)})
        finally:
            for pid in list(_running):
                stop(pid)


def _tell(lines: Any, answer: dict[str, Any]) -> None:
    lines.write(json.dumps(answer) + "\n")
    lines.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
    os._exit(0)  # Python takes seconds to unload what was imported.
