"""Finding a built-in lm-eval task by name without lm-eval's index, which takes ten seconds to build."""

import difflib
import re
from importlib.util import find_spec
from pathlib import Path

from pipelines.errors import UserError, wrong

_NAME = re.compile(rb"""^(task|group):[ \t]*["']?([\w.:+-]+)["']?[ \t]*(?:#.*)?$""", re.MULTILINE)


def tasks_folder() -> Path:
    """Where the installed lm-eval keeps its task YAMLs."""
    spec = find_spec("lm_eval")
    if spec is None or not spec.submodule_search_locations:
        raise wrong("evaluate", "lm-eval is not installed", fix="pip install 'burnish[evaluate]'")
    return Path(spec.submodule_search_locations[0]) / "tasks"


def builtin_yaml(name: str, where: str, folder: Path | None = None) -> Path:
    """The YAML of a built-in task: the file of that name if it says so, else whichever file says so.

    `where` is the task's place in the suite, for the error.
    """
    root = folder or tasks_folder()
    for path in sorted(root.rglob(f"{name}.yaml")) if re.fullmatch(r"[\w.+-]+", name) else []:
        if _names(path).get(name) == "task":
            return path
    every = {path: _names(path) for path in sorted(root.rglob("*.yaml"))}
    for path, names in every.items():
        if names.get(name) == "task":
            return path
    raise _unknown(name, where, every)


def _names(path: Path) -> dict[str, str]:
    """The task and the group that a YAML declares. A YAML with both is a group."""
    found = dict(reversed(_NAME.findall(path.read_bytes())))
    kind = b"group" if b"group" in found else b"task"
    return {found[kind].decode(): kind.decode()} if kind in found else {}


def _unknown(name: str, where: str, every: dict[Path, dict[str, str]]) -> UserError:
    for path, names in every.items():
        if names.get(name) == "group":
            members = sorted(key for names in every.values() for key in names if key.startswith(f"{name}_"))
            fix = f"Name its tasks one by one, such as {', '.join(members[:3]) or f'those in {path.name}'}"
            return wrong(where, "is a group of lm-eval tasks, not a task", name, fix)
    known = sorted({key for names in every.values() for key, kind in names.items() if kind == "task"})
    close = difflib.get_close_matches(name, known, n=3)
    fix = f"Did you mean {' or '.join(close)}?" if close else "`python -m lm_eval ls tasks` lists them"
    return wrong(where, "no such lm-eval task", name, fix)
