"""An environment with the stub for vLLM, and what its servers told; and whether processes are gone."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

STUB = Path(__file__).with_name("stub.py")


def stub_environment(folder: Path, versions: dict[str, str]) -> Path:
    """A folder whose packages have these versions, and whose bin/python starts the stub."""
    for name, version in versions.items():
        metadata = folder / "lib" / "python3" / "site-packages" / f"{name.replace('-', '_')}-{version}.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\nexport STUB_PYTHON=$0\nexec '{sys.executable}' '{STUB}' \"$@\"\n")
    python.chmod(0o755)
    return folder


def told() -> list[dict[str, Any]]:
    """What each server that was started told, the first one first."""
    return [json.loads(line) for line in Path(os.environ["STUB_TELLS"]).read_text().splitlines()]


def pids() -> list[int]:
    return [pid for server in told() for pid in server["pids"]]


def are_gone(pids: list[int], seconds: float = 15) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(map(runs, pids)):
            return True
        time.sleep(0.05)
    return False


def runs(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
