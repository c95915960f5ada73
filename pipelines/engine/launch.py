"""Starts workers: forked from a warm process, or several ranks through accelerate."""

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from pipelines.engine.environment import worker_environment
from pipelines.engine.stage import Launch
from pipelines.errors import wrong

WORKER = "pipelines.engine.worker"


class Running(Protocol):
    """A stage that is being made."""

    def wait(self, seconds: float) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""

    def send(self, number: int) -> None:
        """Send a signal to all of its processes."""


class Warm:
    """A process that has paid for the imports; every stage is a fork of it."""

    def __init__(self, home: Path, offline: bool) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", WORKER, "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # select must see every line that has not been read
            env=worker_environment(str(home), offline=offline),
            start_new_session=True,
        )

    def start(self, call: Path) -> "Forked":
        """Fork a worker for the call."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{call}\n".encode())
        return Forked(self._process)

    def close(self) -> None:
        """End the warm process."""
        self._process.kill()
        self._process.wait()


class Forked:
    """A fork of the warm process. The first line that comes back is its process id, the second its exit status."""

    def __init__(self, server: "subprocess.Popen[bytes]") -> None:
        self._server = server
        self._pid = 0
        self._wanted = 0

    def wait(self, seconds: float) -> int | None:
        assert self._server.stdout is not None
        ready, _, _ = select.select([self._server.stdout], [], [], seconds)
        if not ready:
            return None
        line = self._server.stdout.readline()
        if not line:
            return -(signal.SIGKILL)
        if not self._pid:
            self._pid = int(line)
            if self._wanted:
                self.send(self._wanted)
            return None
        return int(line)

    def send(self, number: int) -> None:
        """A signal that comes while the imports still run is sent as soon as there is somebody to get it."""
        self._wanted = number
        if self._pid:
            os.kill(self._pid, number)


class Launched:
    """Several ranks under accelerate, in a process group of their own."""

    def __init__(self, call: Path, launch: Launch, processes: int, home: Path, log: Path, offline: bool) -> None:
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*accelerate_command(launch, processes), "-m", WORKER, str(call)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=worker_environment(str(home), processes, offline) | _device(),
                start_new_session=True,
            )

    def wait(self, seconds: float) -> int | None:
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def send(self, number: int) -> None:
        """To the whole group: the launcher does not pass a signal on to its ranks."""
        os.killpg(self._process.pid, number)


def _device() -> dict[str, str]:
    return {} if Path("/dev/nvidiactl").exists() else {"ACCELERATE_USE_CPU": "true"}


def accelerate_command(launch: Launch, processes: int) -> list[str]:
    """The launcher's command line, every choice explicit so that no configuration of the user's home is read."""
    command = [sys.executable, "-m", "pipelines.engine.ranks"]
    if launch.config:
        command += ["--config_file", str(launch.config)]
        return command + (["--num_processes", str(processes)] if launch.processes else [])
    command += ["--num_processes", str(processes), "--num_machines", "1", "--mixed_precision", "no"]
    command += ["--dynamo_backend", "no", "--main_process_port", str(_free_port())]
    # With --cpu, accelerate starts one process whatever the number; --multi_gpu only means torchrun.
    return [*command, "--multi_gpu"]


def adopted_processes(environment: Mapping[str, str], launcher: list[str]) -> int | None:
    """The number of processes that the launcher of this process was asked for; None where there was none.

    accelerate's CPU launcher starts one process and passes no number on, so its own command line is asked.
    UserError on several nodes: a run is one process, and only the training it starts is spread.
    """
    if environment.get("ACCELERATE_USE_CPU") == "True" and "WORLD_SIZE" not in environment:
        return _asked_for(launcher)
    world = int(environment.get("WORLD_SIZE", "1"))
    if world > int(environment.get("LOCAL_WORLD_SIZE", str(world))):
        fix = "Start `burnish run` once, with launch: {config: ...} naming an accelerate file for several nodes"
        raise wrong("", "a run cannot be launched on several nodes", f"WORLD_SIZE={world}", fix)
    return world if world > 1 else None


def command_line(process: int) -> list[str]:
    """The arguments of a running process; empty where the system does not tell."""
    path = Path(f"/proc/{process}/cmdline")
    return path.read_text(encoding="utf-8").split("\0") if path.exists() else []


def _asked_for(launcher: list[str]) -> int | None:
    for place, argument in enumerate(launcher):
        if argument in ("--num_processes", "--num-processes"):
            return int(launcher[place + 1])
        if argument.startswith(("--num_processes=", "--num-processes=")):
            return int(argument.partition("=")[2])
    return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
