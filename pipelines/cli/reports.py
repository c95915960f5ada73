"""From what a user calls a run - a recipe, a folder, a name - to the report that was made."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from pipelines.engine.home import home_of, project_root
from pipelines.engine.plan import make_plan
from pipelines.engine.store import Store
from pipelines.errors import wrong
from pipelines.recipe.advised import with_advice
from pipelines.recipe.compile import compile_graph
from pipelines.recipe.load import load

REPORT, FILE = "report", "report.json"
RECIPES = (".yaml", ".yml")


class Made(NamedTuple):
    """A finished report: its folder, and what of the recipe has changed since."""

    folder: Path
    changed: tuple[str, ...]


def newest(path: Path, overrides: Sequence[str]) -> Made:
    """The report of the recipe as it is now, else the last that it made. UserError where it made none."""
    recipe = load(path, list(overrides))
    graph = compile_graph(recipe)
    store = Store(home_of(recipe.root))
    steps = make_plan(graph, store, recipe.name)
    advised = with_advice(recipe, graph, steps, store)
    if advised is not graph:
        steps = make_plan(advised, store, recipe.name)
    found = [(step, step.record or step.before) for step in steps if step.node.id == REPORT]
    for step, record in found:
        if record:
            return Made(store.folder(record.stage, record.key), step.reasons)
    raise wrong(str(path), "no report was made yet", "", f"Make it with: burnish run {path}")


def report_file(run: str, overrides: Sequence[str]) -> Path:
    """The report.json of a run: of a recipe its newest. UserError where there is none."""
    path = Path(run)
    if path.suffix in RECIPES and path.is_file():
        return newest(path, overrides).folder / FILE
    if path.is_file():
        return path
    folder = path if path.is_dir() else _named(run)
    files = (folder / FILE, folder / REPORT / FILE)
    found = next((file for file in files if file.is_file()), None)
    if found is None:
        fix = "A run that stopped, or made --only some stages, has none; name another, or run the whole recipe"
        raise wrong(run, "is a run without a report", "", fix)
    return found


def labels(runs: Sequence[str]) -> list[str]:
    """A short name for each of the runs; what the user wrote where short names would be the same."""
    paths = [Path(run) for run in runs]
    short = [path.parent.name if path.name in (FILE, REPORT) else path.name for path in paths]
    return short if all(short) and len(set(short)) == len(short) else list(runs)


def _named(run: str) -> Path:
    """The run or report of that name in the home of the project that the command is given in."""
    home = home_of(project_root(Path.cwd() / "recipe.yaml"))
    folders = {path.name: path for kind in ("artifacts/report-*", "runs/*") for path in sorted(home.glob(kind))}
    if run in folders:
        return folders[run]
    close = get_close_matches(run, folders, n=1, cutoff=0.5)
    last = f"The last run is {list(folders)[-1]}" if folders else f"There are none in {home}"
    raise wrong(run, "no such run, report or recipe", "", f"Did you mean {close[0]}?" if close else last)
