"""What a launcher left in the environment is understood once and never passed on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.engine.environment import scrubbed, worker_environment
from pipelines.engine.launch import accelerate_command, adopted_processes
from pipelines.engine.stage import InputPath, Launch
from pipelines.errors import UserError


def test_environment_of_a_worker_has_no_launcher_leftovers() -> None:
    stray = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "x", "ACCELERATE_USE_FSDP": "true"}
    assert scrubbed(stray | {"PATH": "/bin"}) == {"PATH": "/bin"}


def test_environment_of_a_worker_waits_without_spinning_and_fits_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    environment = worker_environment("home", processes=2, offline=True)
    assert (environment["OMP_NUM_THREADS"], environment["OMP_WAIT_POLICY"]) == ("4", "PASSIVE")
    assert environment["HF_HUB_OFFLINE"] == environment["HF_HUB_DISABLE_TELEMETRY"] == "1"


def test_adopted_processes_under_torchrun_is_the_world_size() -> None:
    assert adopted_processes({"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}, []) == 2
    assert adopted_processes({}, []) is None


def test_adopted_processes_under_the_cpu_launcher_is_what_it_was_asked_for() -> None:
    environment = {"ACCELERATE_USE_CPU": "True"}
    assert adopted_processes(environment, ["python", "-m", "x", "--num_processes", "2", "--cpu"]) == 2
    assert adopted_processes(environment, ["python", "-m", "x", "--num-processes=3"]) == 3
    assert adopted_processes(environment, ["python", "-m", "x"]) is None


def test_adopted_processes_on_several_nodes_is_refused_with_the_remedy() -> None:
    with pytest.raises(UserError, match="several nodes"):
        adopted_processes({"WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}, [])


def test_accelerate_command_keeps_the_number_of_a_configuration_file() -> None:
    command = accelerate_command(Launch(config=InputPath("fsdp.yaml")), 1)
    assert command[3:] == ["--config_file", "fsdp.yaml"]
    command = accelerate_command(Launch(config=InputPath("fsdp.yaml"), processes=4), 4)
    assert command[3:] == ["--config_file", "fsdp.yaml", "--num_processes", "4"]


PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", '''
import os, time
from pipelines.engine.orphans import die_with_parent
die_with_parent(os.getppid())
print(os.getpid(), flush=True)
time.sleep(60)
'''])
time.sleep(60)
"""


def test_worker_of_a_killed_run_dies_with_it(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 5
    while _alive(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _alive(child)


def _alive(process: int) -> bool:
    status = Path(f"/proc/{process}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
