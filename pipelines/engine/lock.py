"""A lock file that dies with its holder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.errors import wrong


def holder(path: Path) -> str:
    """The process that holds `path`; empty where nobody does."""
    try:
        with path.open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return ""
    except BlockingIOError:
        return path.read_text(encoding="utf-8").strip() or "unknown"
    return ""


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Hold `path` while the block runs. UserError naming the holder's process when it is taken."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            fix = "Wait for that run to end, or stop it"
            raise wrong(path.name, "another run is writing this artifact", f"process {holder}", fix) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
