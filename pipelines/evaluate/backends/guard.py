"""Keeps a server from outliving the stage that needs it.

    python -m pipelines.evaluate.backends.guard COMMAND...

Runs the command in a process group of its own for as long as standard input stays open. That closes when the stage
ends, however it ends; then the whole group is told to end, and soon after made to.
"""

import contextlib
import functools
import os
import select
import signal
import subprocess
import sys

from pipelines.engine.orphans import die_with_parent

_POLL_SECONDS = 0.2
_GRACE_SECONDS = 10


def main(command: list[str]) -> int:
    """The exit status of the command, negative for a signal."""
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
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
    """Children of the command may outlive it, so that the whole group is killed in the end."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_GRACE_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.exit(status if status >= 0 else 128 - status)
