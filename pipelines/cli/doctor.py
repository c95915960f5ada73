"""What this machine is and has: packages, accelerators, and the environments of other tools, which --install makes."""

import argparse
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TextIO

from pipelines.cli.arguments import answer
from pipelines.engine.home import home_of, project_root
from pipelines.errors import Problem, UserError
from pipelines.serving.environments import ENVIRONMENTS, Name, find, home, of_project, outdated, pins
from pipelines.serving.install import install, unsupported, versions
from pipelines.serving.machine import Machine, look
from pipelines.serving.packages import CORE, NEEDED, Package, own_version, packages

WRONG = 2
_ALL = "all"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = (*ENVIRONMENTS, _ALL)
    parser.add_argument(
        "--install", nargs="+", choices=names, metavar="NAME", help=f"make environments: {', '.join(names)}"
    )


def main(args: argparse.Namespace) -> int:
    with of_project(_root()):
        return _main(args)


def _main(args: argparse.Namespace) -> int:
    machine = look()
    if args.install:
        chosen = [name for name in ENVIRONMENTS if {name, _ALL} & set(args.install)]
        return _install(chosen, machine, args.json)
    found = packages()
    problems, notes = _missing(found), _notes(found, machine)
    if args.json:
        answer(_as_json(machine, found, problems, notes))
    else:
        sys.stdout.write("\n".join(_as_text(machine, found, notes)) + "\n")
    sys.stderr.write("".join(f"{problem}\n" for problem in problems))
    return WRONG if problems else 0


def _install(names: Iterable[Name], machine: Machine, as_json: bool) -> int:
    """Make them one after the other; one that fails keeps none of the others from being made."""
    tell = _teller(sys.stderr if as_json else sys.stdout)
    made: dict[str, object] = {}
    problems: list[Problem] = []
    for name in names:
        try:
            environment = install(name, machine, tell)
        except UserError as error:
            problems += error.problems
            sys.stderr.write(f"{error}\n")
        else:
            made[name] = {"folder": str(environment.folder), "versions": dict(environment.versions)}
    if as_json:
        answer({"installed": made, "problems": [str(problem) for problem in problems]})
    return WRONG if problems else 0


def _teller(stream: TextIO) -> Callable[[str], None]:
    """Writes lines at once: they tell how far it is."""

    def tell(line: str) -> None:
        stream.write(f"{line}\n")
        stream.flush()

    return tell


def _missing(found: Iterable[Package]) -> list[Problem]:
    """What no recipe runs without."""
    return [
        Problem(package.name, package.lacks, package.installed, f"Run: {_command(package.extra)}")
        for package in found
        if package.extra in NEEDED and package.lacks
    ]


def _command(extra: str) -> str:
    return "pip install --upgrade burnish" if extra == CORE else f"pip install --upgrade 'burnish[{extra}]'"


def _notes(found: Iterable[Package], machine: Machine) -> list[str]:
    """What works, but not as it could."""
    torch = next((package.installed for package in found if package.name == "torch"), "")
    if machine.cuda and torch.endswith("+cpu"):
        return [f"torch {torch} is the build for processors alone: the GPU stays idle. Install that for CUDA"]
    return []


def _root() -> Path:
    return project_root(Path.cwd() / "recipe.yaml")


def _home() -> Path:
    return home_of(_root())


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(next(above for above in (folder, *folder.parents) if above.exists())).free


def _state(name: Name, machine: Machine) -> dict[str, Any]:
    """An environment as data: its versions and what it departs from where it is there, else how to get it."""
    found = find(name)
    apart = outdated(found, pins(name, machine.cuda)) if found else []
    return {
        "purpose": ENVIRONMENTS[name].purpose,
        "installed": versions(found) if found else "",
        "outdated": apart,
        "unsupported": "" if found else "; ".join(problem.what for problem in unsupported(name, machine)),
        "command": f"burnish doctor --install {name}" if apart or not found else "",
    }


def _as_json(
    machine: Machine, found: Iterable[Package], problems: Iterable[Problem], notes: list[str]
) -> dict[str, object]:
    return {
        "burnish": own_version(),
        "machine": machine._asdict() | {"gpus": [gpu._asdict() for gpu in machine.gpus]},
        "home": {"folder": str(_home()), "free_bytes": _free_bytes(_home())},
        "packages": [package._asdict() | {"lacks": package.lacks} for package in found],
        "environments": {"folder": str(home())} | {name: _state(name, machine) for name in ENVIRONMENTS},
        "notes": notes,
        "problems": [str(problem) for problem in problems],
    }


def _as_text(machine: Machine, found: Iterable[Package], notes: Iterable[str]) -> list[str]:
    """The same to be read: the machine, a line an extra, and two an environment."""
    memory, free = machine.memory_bytes / 1e9, _free_bytes(_home()) / 1e9
    gpus = ", ".join(f"{gpu.name}, {gpu.memory_bytes / 1e9:.0f} GB" for gpu in machine.gpus)
    lines = [
        f"Burnish {own_version()}, Python {machine.python}, {machine.system}, {machine.architecture}",
        f"{machine.cores} cores, {memory:.1f} GB of memory, {free:.1f} GB free in {_home()}",
        f"GPU: {gpus}" if gpus else "No GPU: nvidia-smi lists none",
        *notes,
        "",
        "Packages",
    ]
    extras: dict[str, list[Package]] = {}
    for package in found:
        extras.setdefault(package.extra, []).append(package)
    lines += [_extra(name, inside) for name, inside in extras.items()]
    lines += ["", f"Environments in {home()}"]
    for name in ENVIRONMENTS:
        lines += _environment(name, _state(name, machine))
    return lines


def _extra(name: str, inside: Iterable[Package]) -> str:
    """A line: what is there by version, what is not, and the command where something is wanting."""
    parts = [f"{one.name} {one.installed} {one.lacks}".replace("  ", " ").strip() for one in inside]
    lacking = any(one.lacks for one in inside)
    return f"  {name:<10} {', '.join(parts)}" + (f": {_command(name)}" if lacking else "")


def _environment(name: str, state: dict[str, Any]) -> list[str]:
    """What it is for and how it is; below, what is in it or how to get it."""
    lines = [f"  {name:<14} {state['purpose']}"]
    indent = " " * 17
    if state["installed"]:
        lines.append(f"{indent}{state['installed']}")
    if state["unsupported"]:
        return [*lines, f"{indent}not here: {state['unsupported']}"]
    if state["outdated"]:
        lines.append(f"{indent}wanted: {', '.join(state['outdated'])}")
    if state["command"]:
        lines.append(f"{indent}{'' if state['installed'] else 'not installed: '}{state['command']}")
    return lines
