"""How far a stage is: one JSON line at a time, written by the worker and followed by the runner."""

import json
import os
import time
from pathlib import Path

PROGRESS_FILE = "BURNISH_PROGRESS"
_INTERVAL = 0.25
_last = 0.0


def progress(done: int, total: int, unit: str, **numbers: float) -> None:
    """Say that `done` of `total` units are finished, with numbers worth seeing such as the loss.

    Calls closer than a quarter of a second apart are dropped, but for the last one. Without a runner it does nothing.
    """
    global _last
    path = os.environ.get(PROGRESS_FILE)
    now = time.monotonic()
    if not path or (now - _last < _INTERVAL and done != total):
        return
    _last = now
    line = json.dumps({"done": done, "total": total, "unit": unit, **numbers})
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(line + "\n")
