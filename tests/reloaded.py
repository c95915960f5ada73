"""A folder reloaded in this process, for tests that are not about the process: imports take seconds."""

import tempfile
from pathlib import Path

from pipelines.serving.look import child, fresh


def reload(folder: Path) -> fresh.Reloaded:
    """What `pipelines.serving.look.fresh.reload` says."""
    with tempfile.TemporaryDirectory() as scratch:
        child.main(folder, Path(scratch))
        return fresh.read_answer(Path(scratch))
