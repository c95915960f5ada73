"""What was made from what, as a flowchart that GitHub draws: Mermaid."""

import re
from collections.abc import Mapping
from typing import Any

from pipelines.report.data.collect import Report
from pipelines.report.markdown.blocks import fenced, folded, section
from pipelines.report.text import clean

MOST = 200
"""Edges beyond which the chart is unreadable; Mermaid itself draws no more than 500."""

_SHAPES = {"dataset": ("[(", ")]"), "scores": ("([", "])"), "verdict": ("{{", "}}"), "export": ("[[", "]]")}
_SAFE = re.compile(r"[^A-Za-z0-9 ._-]")


def lineage(report: Report, scores: bool = True) -> str:
    """The graph of artifacts, behind a fold; without `scores` and the verdict, what the weights come from."""
    for kinds in ((), ("scores", "verdict")) if scores else (("scores", "verdict"),):
        nodes = [node for node in report["lineage"]["nodes"] if node["kind"] not in kinds]
        edges = [edge for edge in report["lineage"]["edges"] if {*edge} <= {node["id"] for node in nodes}]
        if 0 < len(edges) <= MOST:
            return section("Lineage", folded(f"{len(nodes)} artifacts", fenced(_chart(nodes, edges), "mermaid")))
    return ""


def _chart(nodes: list[Mapping[str, Any]], edges: list[list[str]]) -> str:
    numbers = {node["id"]: f"n{place}" for place, node in enumerate(nodes)}
    lines = [f"{numbers[node['id']]}{_label(node)}" for node in nodes]
    lines += [f"{numbers[source]} --> {numbers[made]}" for source, made in edges]
    return "\n".join(["flowchart LR", *(f"  {line}" for line in lines)])


def _label(node: Mapping[str, Any]) -> str:
    """The name in the shape of its kind; every sign that could mean something to Mermaid or HTML as its number."""
    start, end = _SHAPES.get(node["kind"], ("[", "]"))
    text = _SAFE.sub(lambda sign: f"#{ord(sign[0])};", clean(node["id"], 60))
    return f'{start}"{text}"{end}'
