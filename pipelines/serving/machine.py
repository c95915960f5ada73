"""The machine that this runs on: what an environment or a run can count on, found without importing torch."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

_QUERY = ["--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits"]
_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_TIMEOUT_SECONDS = 20


class Gpu(NamedTuple):
    """An accelerator. `driver` is empty where it has no version of its own."""

    name: str
    memory_bytes: int
    driver: str


class Machine(NamedTuple):
    """System, processor and accelerators. `memory_bytes` is what a container leaves; `avx2` is for x86-64 alone."""

    python: str
    system: str
    architecture: str
    cores: int
    memory_bytes: int
    avx2: bool
    gpus: tuple[Gpu, ...]

    @property
    def cuda(self) -> bool:
        """Whether it has a GPU by NVIDIA, with a driver that answers."""
        return any(gpu.driver for gpu in self.gpus)


def look() -> Machine:
    """This machine, now."""
    return Machine(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()}",
        architecture=platform.machine(),
        cores=cores(),
        memory_bytes=memory_bytes(),
        avx2=_avx2(),
        gpus=gpus(),
    )


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def memory_bytes() -> int:
    """The memory of the machine, or of the container that this runs in."""
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in map(Path, _CGROUPS):
        limit = path.read_text(encoding="utf-8").strip() if path.is_file() else ""
        if limit.isdecimal():
            found = min(found, int(limit))
    return found


def gpus() -> tuple[Gpu, ...]:
    """What `nvidia-smi` lists; nothing where there is none, or no driver that answers. Apple's chips are one GPU."""
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return (Gpu("Apple GPU", memory_bytes(), ""),)
    command = shutil.which("nvidia-smi")
    if command is None:
        return ()
    try:
        asked = subprocess.run(
            [command, *_QUERY], capture_output=True, text=True, check=False, timeout=_TIMEOUT_SECONDS
        )
    except (subprocess.TimeoutExpired, OSError):
        return ()
    rows = [[part.strip() for part in line.split(",")] for line in asked.stdout.splitlines()]
    # Where memory is shared with the processor, its size is "[N/A]".
    sized = [(row, int(row[1]) << 20 if row[1].isdecimal() else 0) for row in rows if len(row) == 3]
    return tuple(Gpu(row[0], size, row[2]) for row, size in sized) if asked.returncode == 0 else ()


def _avx2() -> bool:
    path = Path("/proc/cpuinfo")
    return path.is_file() and " avx2 " in f"{path.read_text(encoding='utf-8', errors='replace')} ".replace("\n", " ")
