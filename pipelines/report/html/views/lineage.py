"""What was made from what, laid out from left to right: a column a generation, few crossings, no library.

After Sugiyama, Tagawa and Toda (1981): layers by the longest way, places in long edges, sweeps by the mean neighbour.
"""

from collections.abc import Iterable, Mapping, Sequence
from graphlib import TopologicalSorter
from itertools import pairwise
from typing import Any, NamedTuple

from pipelines.report.data.collect import Report
from pipelines.report.text import clip

_LETTER, _PAD, _HIGH, _GAP, _ACROSS = 6.6, 22, 30, 12, 48
"""In SVG units: the width of a letter, the room beside a name, a box, and the room between boxes both ways."""
_LONGEST = 26
_SWEEPS = 8

Edge = tuple[str, str]


class Box(NamedTuple):
    id: str
    text: str
    kind: str
    x: float
    y: float
    width: float


class Layout(NamedTuple):
    """Boxes and the curves between them, as SVG paths; sizes are in SVG units."""

    width: float
    height: float
    box_height: float
    boxes: list[Box]
    paths: list[str]


class _Spot(NamedTuple):
    """Where edges meet: a box, or the gap that a long edge goes through."""

    left: float
    right: float
    middle: float


def lineage(report: Report) -> dict[str, Any] | None:
    graph = report["lineage"]
    return {"graph": layout(graph), "edges": graph["edges"]} if graph["nodes"] else None


def layout(graph: Mapping[str, Any]) -> Layout:
    """Each node stands right of all that it was made from, near the middle of its neighbours."""
    kinds = {node["id"]: node["kind"] for node in graph["nodes"]}
    edges = reduced([(a, b) for a, b in graph["edges"]])
    depth = depths(kinds, edges)
    chains = {edge: _chain(edge, depth) for edge in edges}
    columns = _ordered(
        _columns(kinds, depth, chains.values()), [pair for way in chains.values() for pair in pairwise(way)]
    )
    heights = [sum(map(_height, column)) - _GAP for column in columns]
    spots: dict[str, _Spot] = {}
    boxes, x = [], 1.0
    for column, height in zip(columns, heights, strict=True):
        width = max(len(clip(ref, _LONGEST)) for ref in column if ref in kinds) * _LETTER + _PAD
        y = 1 + (max(heights) - height) / 2
        for ref in column:
            spots[ref] = _Spot(x, x + width, y + (_height(ref) - _GAP) / 2)
            if ref in kinds:
                boxes.append(Box(ref, clip(ref, _LONGEST), kinds[ref], x, y, width))
            y += _height(ref)
        x += width + _ACROSS
    paths = [_path([spots[ref] for ref in way]) for way in chains.values()]
    return Layout(x - _ACROSS + 1, max(heights) + 2, _HIGH, boxes, paths)


def reduced(edges: Sequence[Edge]) -> list[Edge]:
    """The edges without those that a longer way implies."""
    after = _sources([(b, a) for a, b in edges])
    reach: dict[str, set[str]] = {}
    for node in TopologicalSorter(after).static_order():
        reach[node] = set().union(*({other} | reach[other] for other in after.get(node, ())))
    return [(a, b) for a, b in edges if not any(b in reach[other] for other in after[a])]


def depths(nodes: Iterable[str], edges: Sequence[Edge]) -> dict[str, int]:
    """The column of each node: one more than the last of its sources'."""
    sources = _sources(edges)
    depth: dict[str, int] = {}
    for node in TopologicalSorter({node: sources.get(node, []) for node in nodes}).static_order():
        depth[node] = 1 + max((depth[source] for source in sources.get(node, ())), default=-1)
    return depth


def _sources(edges: Sequence[Edge]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for a, b in edges:
        found.setdefault(b, []).append(a)
    return found


def _chain(edge: Edge, depth: Mapping[str, int]) -> list[str]:
    """The edge with a place of its own in every column that it passes."""
    a, b = edge
    return [a, *(f"{a}\n{b}\n{column}" for column in range(depth[a] + 1, depth[b])), b]


def _columns(nodes: Iterable[str], depth: Mapping[str, int], chains: Iterable[Sequence[str]]) -> list[list[str]]:
    columns: list[list[str]] = [[] for _ in range(1 + max(depth.values()))]
    for node in nodes:
        columns[depth[node]].append(node)
    for way in chains:
        for at, ref in enumerate(way[1:-1], 1):
            columns[depth[way[0]] + at].append(ref)
    return columns


def _ordered(columns: list[list[str]], edges: Iterable[Edge]) -> list[list[str]]:
    """Within a column by the mean place of the neighbours, swept right and left."""
    near: dict[str, list[str]] = {}
    for a, b in edges:
        near.setdefault(a, []).append(b)
        near.setdefault(b, []).append(a)
    place = {ref: (at + 0.5) / len(column) for column in columns for at, ref in enumerate(column)}
    for sweep in range(_SWEEPS):
        for column in columns if sweep % 2 == 0 else reversed(columns):
            means = {
                ref: sum(place[other] for other in near[ref]) / len(near[ref]) if ref in near else place[ref]
                for ref in column
            }
            column.sort(key=lambda ref: means[ref])
            place |= {ref: (at + 0.5) / len(column) for at, ref in enumerate(column)}
    return columns


def _height(ref: str) -> float:
    """Of a box, or of the gap for an edge, with the room below it."""
    return _GAP if "\n" in ref else _HIGH + _GAP


def _path(spots: Sequence[_Spot]) -> str:
    """A curve between columns, and a straight line through a gap."""
    parts = [f"M{spots[0].right:.1f} {spots[0].middle:.1f}"]
    for a, b in pairwise(spots):
        bend = (a.right + b.left) / 2
        parts.append(f"C{bend:.1f} {a.middle:.1f} {bend:.1f} {b.middle:.1f} {b.left:.1f} {b.middle:.1f}")
        parts.append(f"H{b.right:.1f}" if b is not spots[-1] else "")
    return "".join(parts)
