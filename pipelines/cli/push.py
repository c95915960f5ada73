"""The end of a run that ships to the hub: what would be pushed where, and with --yes, pushing it."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.engine.imports import load_attribute
from pipelines.engine.stage import Artifact
from pipelines.engine.store import write_json
from pipelines.errors import Problem, UserError
from pipelines.export.config import ExportEntry
from pipelines.export.pushes import Push, pushes, repository
from pipelines.recipe.formats import CHOSEN, part_id
from pipelines.recipe.mistakes import at
from pipelines.recipe.recipe import Recipe

_WHOLE, _ADAPTER = "safetensors", "adapter"


class Shipped(NamedTuple):
    """What a run did about the hub: what was to be pushed, what was, as data, and what went wrong."""

    wanted: list[Push]
    pushed: list[dict[str, Any]]
    problems: list[Problem]


def wants(recipe: Recipe) -> bool:
    """Whether an export of the recipe names a repository."""
    return any(isinstance(entry, ExportEntry) and entry.hub for entry in recipe.configs("export").values())


def refusals(offline: bool) -> list[Problem]:
    """Why nothing could be pushed in the end: better known before anything is trained."""
    if offline:
        return [Problem("--yes", "nothing is pushed offline", "", "Leave out --yes, or --offline")]
    # Reached by name: most runs push nothing, and the hub's client is not part of a core installation.
    found: list[Problem] = load_attribute("pipelines.export.hub:problems")()
    return found


def clashes(recipe: Recipe) -> list[Problem]:
    """Entries of which one would take the place of another in a repository."""
    taken: dict[tuple[str, str], str] = {}
    found = []
    for entry in recipe.entries.values():
        if not isinstance(entry.config, ExportEntry) or entry.config.hub is None:
            continue
        hub, tried = entry.config.hub, entry.config.quantize.levels if entry.config.quantize else ()
        for repo in sorted({repository(hub.repo, name) for name in (*entry.config.formats, *tried)}):
            first = taken.setdefault((repo.lower(), hub.branch), entry.name)
            if first != entry.name:
                path = (*entry.path, "hub", "repo")
                what = f"goes to {repo} as '{first}' does, and would take its place"
                found.append(at(recipe.origin(path), path, what, "", "Name another repo or branch"))
    return found


def planned(recipe: Recipe, artifacts: Mapping[str, Artifact]) -> tuple[list[Push], str]:
    """The pushes of what was made, and why they may not be: the gates say no, or have not been asked."""
    entries = [entry for entry in recipe.entries.values() if isinstance(entry.config, ExportEntry)]
    found = [
        push
        for entry in entries
        if entry.config.hub
        for push in pushes(entry.config.hub, dict(_folders(entry.id, entry.config, artifacts)).items())
    ]
    verdict = artifacts.get("gate")
    if verdict and verdict.metrics["blocks"]:
        return found, "the gates say no"
    return found, "the gates have not been asked; run without --only" if recipe.gates and not verdict else ""


def _folders(identity: str, entry: ExportEntry, artifacts: Mapping[str, Artifact]) -> Iterator[tuple[str, Path]]:
    """Each format that is shipped, with its folder; the chosen level in place of those that were only tried."""
    for name in entry.formats:
        made = artifacts.get(identity if name == _ADAPTER else part_id(identity, name))
        if made is None:
            continue
        folder = made.path / (_ADAPTER if name == _ADAPTER else made.metrics["folder"])
        # An adapter that vLLM cannot serve is not written: the merged weights stand for it.
        if folder.is_dir():
            yield name, folder
    if chosen := artifacts.get(part_id(identity, CHOSEN)):
        yield chosen.metrics["picked"] or _WHOLE, chosen.path / chosen.metrics["folder"]


def ship(wanted: list[Push], message: str, tell: Callable[[str], None]) -> Shipped:
    """Push one after the other, until one fails."""
    pushed: list[dict[str, Any]] = []
    for one in wanted:
        tell(f"Pushing {one}")
        try:
            done = load_attribute("pipelines.export.hub:push")(one, message)
        except UserError as error:
            return Shipped(wanted, pushed, list(error.problems))
        pushed.append(done._asdict())
        tell(f"{'Pushed' if done.new else 'Nothing new'}: {done.url} at commit {done.commit}")
    return Shipped(wanted, pushed, [])


def keep(run_dir: Path, shipped: Shipped) -> None:
    """Write what was pushed to the run's folder."""
    write_json(run_dir / "pushed.json", json.loads(json.dumps(shipped.pushed)))
