"""What a run would do, stage by stage, and why."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.engine.digest import Digests
from pipelines.engine.graph import Graph, Node
from pipelines.engine.identity import Payload, differences, key, payload
from pipelines.engine.imports import load_attribute
from pipelines.engine.stage import Estimate
from pipelines.engine.store import Record, Store
from pipelines.errors import Problem

CACHED, RUN, HELD = "cached", "run", "held back"
_RESERVE_BYTES = 64 << 20


@dataclass(frozen=True)
class Step:
    """One node of the plan: its key, its finished artifact where there is one, and why it is made where there is none.

    `before` is the newest artifact that this entry of the recipe made, whatever its key. What it took is the estimate;
    the first time the stage may know.
    """

    node: Node
    key: str
    identity: Payload
    record: Record | None
    reasons: tuple[str, ...]
    before: Record | None
    estimate: Estimate | None = None

    @property
    def state(self) -> str:
        return CACHED if self.record else RUN


def make_plan(graph: Graph, store: Store, recipe: str, verify: bool = False) -> list[Step]:
    """Name every artifact, look it up and explain every miss. UserError for artifacts that were changed."""
    digests = Digests(store.home / "digests.json", verify)
    history = read_history(store.home, recipe)
    keys: dict[str, str] = {}
    fresh: set[str] = set()
    made: dict[str, Record | None] = {}
    steps = []
    for node in graph:
        identity = payload(node, keys, digests.of)
        keys[node.id] = key(identity)
        record = store.find(node.stage.name, keys[node.id], verify)
        known = history.get(node.id)
        before = store.record(known["stage"], known["key"]) if known else None
        reasons = () if record else _reasons(node, keys[node.id], identity, known, fresh)
        if not record:
            fresh.add(node.id)
        made[node.id] = record
        estimate = None if record else _estimate(node, before, made, store)
        steps.append(Step(node, keys[node.id], identity, record, reasons, before, estimate))
    digests.save()
    return steps


def disk_problems(steps: list[Step], store: Store) -> list[Problem]:
    """Whether the disk holds what the stages to be run will make, as far as that is known, and a little more."""
    needed = sum(step.estimate.bytes for step in steps if step.estimate) + _RESERVE_BYTES
    place = next(folder for folder in [store.home, *store.home.parents] if folder.exists())
    free = shutil.disk_usage(place).free
    if free < needed:
        sizes = f"{free / 1e9:.2f} GB free, about {needed / 1e9:.2f} GB needed"
        return [Problem(str(store.home), "not enough disk space", sizes, "Free some, or set BURNISH_HOME elsewhere")]
    return []


def busy_problems(steps: list[Step], store: Store) -> list[Problem]:
    """Artifacts to be made that another run is writing at this moment."""
    fix = "Wait for that run to end, or stop it"
    writers = [(step, store.writer(step.node.stage.name, step.key)) for step in steps if not step.record]
    return [
        Problem(step.node.id, "another run is writing this artifact", f"process {writer}", fix)
        for step, writer in writers
        if writer
    ]


def _estimate(node: Node, before: Record | None, made: Mapping[str, Record | None], store: Store) -> Estimate | None:
    """What it took last time; else what the stage says of inputs that are there."""
    if before:
        return Estimate(before.seconds, before.peak_bytes, before.bytes)
    inputs = {name: store.artifact(record, name) for name in node.inputs if (record := made[name])}
    if not node.stage.estimate or len(inputs) < len(node.inputs):
        return None
    estimate: Estimate = load_attribute(node.stage.estimate)(node.config, inputs)
    return estimate


def read_history(home: Path, recipe: str) -> dict[str, dict[str, Any]]:
    """Stage, key and identity of what each entry of the recipe made last."""
    path = history_path(home, recipe)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def history_path(home: Path, recipe: str) -> Path:
    return home / "latest" / f"{recipe}.json"


def _reasons(node: Node, now: str, identity: Payload, known: dict[str, Any] | None, fresh: set[str]) -> tuple[str, ...]:
    if known is None:
        return ("never made",)
    if known["key"] == now:
        return ("its artifact is gone",)
    if known["stage"] != node.stage.name:
        return (f"was a {known['stage']} stage",)
    upstream = [f"{name} is made anew" for name in node.inputs if name in fresh]
    own = [line for line in differences(known["identity"], identity) if not (upstream and line.startswith("input "))]
    return (*own, *upstream)
