"""What the records of the artifacts tell: the settings, what was made from what, and what making it took."""

from collections.abc import Mapping
from typing import Any

from pipelines.engine.stage import Artifact
from pipelines.engine.store import Record

Made = Mapping[str, Artifact]
Records = Mapping[str, Record]

_HOUR = 3600.0


def settings(made: Made, records: Records) -> dict[str, dict[str, Any]]:
    """What each artifact was made with; inputs by name, files by the beginning of their digest."""
    names = {artifact.key: ref for ref, artifact in made.items()}
    return {ref: _named(record.identity["config"], names) for ref, record in records.items()}


def _named(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_named(item, names) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"input"}:
        return names.get(value["input"], value["input"][:12])
    if value.keys() == {"sha256"}:
        return f"sha256:{value['sha256'][:12]}"
    return {key.rstrip("_"): _named(item, names) for key, item in value.items()}


def lineage(made: Made, records: Records) -> dict[str, Any]:
    """The artifacts as a graph, an edge from each to those that were made from it.

    A record names its inputs as the recipe did that made it first: what they are now called, their keys tell.
    """
    order = {ref: place for place, ref in enumerate(made)}
    by_key = {artifact.key: ref for ref, artifact in made.items()}
    edges = set()
    for ref in made:
        for name, key in records[ref].inputs.items() if ref in records else ():
            source = name if name in made and made[name].key == key else by_key.get(key)
            if source is not None:
                edges.add((source, ref))
    nodes = [{"id": ref, "kind": item.kind, "stage": _stage(ref, records)} for ref, item in made.items()]
    return {
        "nodes": nodes,
        "edges": [list(edge) for edge in sorted(edges, key=lambda edge: (order[edge[1]], order[edge[0]]))],
    }


def resources(made: Made, records: Records, per_hour: float | None, currency: str) -> dict[str, Any]:
    """Wall and processor seconds, peak memory and size in bytes of every artifact, each artifact once.

    The one part of a report that differs between two runs of one recipe. What was found ready counts with what making
    it took then.
    """
    once = {made[ref].key: ref for ref in reversed(list(made)) if ref in records}
    rows = [
        {
            "id": ref,
            "stage": records[ref].stage,
            "seconds": records[ref].seconds,
            "cpu_seconds": records[ref].cpu_seconds,
            "peak_bytes": records[ref].peak_bytes,
            "bytes": records[ref].bytes,
        }
        for ref in made
        if ref in records and once[made[ref].key] == ref
    ]
    seconds = sum(records[ref].seconds for ref in once.values())
    cost = {"amount": seconds / _HOUR * per_hour, "currency": currency, "per_hour": per_hour} if per_hour else None
    return {"rows": rows, "total_seconds": round(seconds, 3), "cost": cost}


def _stage(ref: str, records: Records) -> str:
    return records[ref].stage if ref in records else ""
