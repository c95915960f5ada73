"""Keeps a server from outliving the stage that needs it.

    python -m pipelines.serving.vllm.guard COMMAND...

Runs the command in a process group of its own, with the descriptors that were passed here, for as long as standard
input stays open. That closes when the stage ends, however it ends; then the group is told to end, and soon after it and
every process that came of it are made to.
"""

import contextlib
import ctypes
import functools
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

from pipelines.engine.orphans import die_with_parent

_PR_SET_CHILD_SUBREAPER = 36
_POLL_SECONDS = 0.2
_GRACE_SECONDS = 15
"""Longer than the command takes to end its own."""


def main(command: list[str]) -> int:
    """The exit status of the command, negative for a signal."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        close_fds=False,
        preexec_fn=functools.partial(die_with_parent, os.getpid()),
    )
    try:
        while child.poll() is None and _is_open():
            pass
    finally:
        _end(child)
    return child.returncode


def _is_open() -> bool:
    """Wait a moment for standard input, on which nothing is ever written, to be closed."""
    ready, _, _ = select.select([0], [], [], _POLL_SECONDS)
    return not ready or bool(os.read(0, 1))


def _end(child: "subprocess.Popen[bytes]") -> None:
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_GRACE_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    while orphans := _children():
        for pid in orphans:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _children() -> list[int]:
    """Whoever is left, in whatever group: an orphan's parent is this process, where the system can do that."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            _, parent = stat.read_text().rpartition(")")[2].split()[:2]
            found += [int(stat.parent.name)] if int(parent) == os.getpid() else []
    return found


if __name__ == "__main__":
    status = main(sys.argv[1:])
