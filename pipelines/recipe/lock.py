"""The lock of a recipe: the commit of every hub name and the digest of every file, and what departs from them."""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from pipelines.base.config import BaseConfig
from pipelines.base.wheel import cached_wheel, parse_pin
from pipelines.engine.digest import Digests
from pipelines.engine.graph import Graph, Node
from pipelines.engine.stage import Config, input_paths
from pipelines.errors import Problem, UserError, wrong
from pipelines.recipe.recipe import Recipe
from pipelines.recipe.yaml_file import shown_path

VERSION = 1
_COMMIT = re.compile(r"[0-9a-f]{40}")


class HubName(NamedTuple):
    """A repository of the hub as a recipe names it. `kind` is model or dataset."""

    kind: str
    repository: str
    revision: str

    def __str__(self) -> str:
        return f"{self.kind} {self.repository}@{self.revision}"

    @property
    def pinned(self) -> bool:
        return bool(_COMMIT.fullmatch(self.revision))


class Lock(NamedTuple):
    """Commits by hub name, and sha256 by path from the project's root."""

    recipe: str
    hub: Mapping[str, str]
    files: Mapping[str, str]


def lock_path(recipe: Recipe) -> Path:
    """The lock's place: beside the recipe."""
    return recipe.path.with_suffix(".lock.json")


def hub_names(graph: Iterable[Node]) -> list[HubName]:
    """Every hub name that a graph reads from, each once."""
    return list(dict.fromkeys(name for node in graph for _, name in _hub_configs(node.config)))


def make_lock(recipe: Recipe, graph: Graph, commits: Mapping[HubName, str]) -> Lock:
    """The lock of a recipe as its files are now, given the commit of every hub name."""
    hub = {str(name): commits.get(name, name.revision) for name in hub_names(graph)}
    return Lock(recipe.name, dict(sorted(hub.items())), file_digests(recipe, graph))


def file_digests(recipe: Recipe, graph: Iterable[Node], digests: Digests | None = None) -> dict[str, str]:
    """sha256 of every file and folder that a graph reads, by its path from the project's root."""
    digests = digests or Digests(Path(os.devnull))
    paths = {Path(path) for node in graph for path in input_paths(node.config)}
    return {os.path.relpath(path, recipe.root): digests.of(path) for path in sorted(paths)}


def write_lock(path: Path, lock: Lock) -> None:
    """Write the lock as JSON, the same bytes for the same lock."""
    text = json.dumps({"burnish_lock": VERSION, **lock._asdict()}, indent=1, sort_keys=True, ensure_ascii=False)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(path)


def read_lock(recipe: Recipe) -> Lock:
    """The lock beside the recipe. Raises UserError where there is none, or one of another recipe."""
    path = lock_path(recipe)
    again = f"Run: burnish lock {shown_path(recipe.path)}"
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        version, lock = told.pop("burnish_lock"), Lock(**told)
    except FileNotFoundError:
        raise wrong(shown_path(recipe.path), "there is no lock of this recipe", "", again) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise wrong(shown_path(path), "is not a lock", "", again) from None
    if version != VERSION:
        raise wrong(shown_path(path), f"is a lock of version {version}, not {VERSION}", "", again)
    if lock.recipe != recipe.name:
        raise wrong(shown_path(path), "is the lock of another recipe", lock.recipe, again)
    return lock


def check_lock(recipe: Recipe, graph: Graph, digests: Digests | None = None) -> list[Problem]:
    """What a locked run would take that the lock does not pin, or pins otherwise.

    `digests` remembers what was read before; without it every file is read.
    """
    try:
        lock = read_lock(recipe)
    except UserError as error:
        return list(error.problems)
    path, again = shown_path(lock_path(recipe)), f"Run: burnish lock {shown_path(recipe.path)}"
    found = [
        Problem(path, f"{name} is not pinned", "", again)
        for name in hub_names(graph)
        if not name.pinned and not _COMMIT.fullmatch(lock.hub.get(str(name), ""))
    ]
    for name, digest in file_digests(recipe, graph, digests).items():
        if name not in lock.files:
            found.append(Problem(path, f"{name} is not in the lock", "", again))
        elif lock.files[name] != digest:
            got = f"sha256 {digest[:12]}…, locked {lock.files[name][:12]}…"
            found.append(Problem(path, f"{name} was changed since it was locked", got, again))
    return found


def with_lock(recipe: Recipe, graph: Graph) -> Graph:
    """The graph with the lock's commits in place of the revisions that the recipe leaves open. Raises UserError."""
    lock = read_lock(recipe)
    return Graph({name: replace(node, config=_pinned(node.config, lock)) for name, node in graph.nodes.items()})


def _pinned(config: Config, lock: Lock) -> Any:
    return _replaced(config, {id(part): lock.hub.get(str(name)) for part, name in _hub_configs(config)})


def _replaced(config: BaseModel, commits: Mapping[int, str | None]) -> BaseModel:
    changed: dict[str, Any] = {}
    if commit := commits.get(id(config)):
        changed["revision"] = commit
    for name in type(config).model_fields:
        old = getattr(config, name)
        if isinstance(old, BaseModel) and (new := _replaced(old, commits)) is not old:
            changed[name] = new
    return config.model_copy(update=changed) if changed else config


def _hub_configs(config: BaseModel) -> Iterator[tuple[BaseModel, HubName]]:
    """Every part of a config that names a hub repository: a base model, or the source of a dataset."""
    fields = type(config).model_fields
    if "hub" in fields and "revision" in fields and (repository := getattr(config, "hub")):  # noqa: B009
        kind = "dataset" if "hub_split" in fields else "model"
        yield config, HubName(kind, repository, getattr(config, "revision") or "main")  # noqa: B009
    for name in fields:
        inner = getattr(config, name)
        if isinstance(inner, BaseModel):
            yield from _hub_configs(inner)


def check_offline(nodes: Iterable[Node], home: Path | None = None) -> list[Problem]:
    """Sources of the nodes that cannot be had without the network.

    Those are hub names that the hub's cache lacks, and wheels that were never fetched into `home`.
    """
    fix = "Run once without --offline, or name local files"
    nodes = list(nodes)
    found = [
        Problem("--offline", f"{name} is not in the local cache, and the network is not to be used", "", fix)
        for name in hub_names(nodes)
        if not cached(name)
    ]
    home = home or Path(os.environ.get("BURNISH_HOME", ".burnish"))
    for wheel in {node.config.wheel for node in nodes if isinstance(node.config, BaseConfig) and node.config.wheel}:
        if not cached_wheel(parse_pin(wheel), home / "downloads"):
            found.append(Problem("--offline", f"{wheel} was never fetched, and the network is not to be used", "", fix))
    return found


def cached(name: HubName) -> bool:
    """Whether the hub's cache holds the commit. Layout: huggingface_hub, "Understand caching"."""
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    hub = Path(os.environ.get("HF_HUB_CACHE", home / "hub"))
    folder = hub / f"{name.kind}s--{name.repository.replace('/', '--')}"
    reference = folder / "refs" / name.revision
    commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else name.revision
    return (folder / "snapshots" / commit).is_dir()
