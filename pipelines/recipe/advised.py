"""Advice that was measured before: found by its key, and put into the graph for the report to tell."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from pipelines.engine.graph import Graph, Node, graph_of
from pipelines.engine.identity import key, payload
from pipelines.engine.plan import Step
from pipelines.engine.stage import AnyRef
from pipelines.engine.store import Record, Store
from pipelines.recipe.lineage import advice_nodes
from pipelines.recipe.recipe import Recipe
from pipelines.report.config import ReportConfig


def stored_advice(recipe: Recipe, steps: Sequence[Step], store: Store) -> Iterator[tuple[Node, Record]]:
    """What was measured on the models as they are; where losses were measured too, that one."""
    nodes, keys = {step.node.id: step.node for step in steps}, {step.node.id: step.key for step in steps}
    found = set()
    for node in [*advice_nodes(recipe, nodes, True), *advice_nodes(recipe, nodes)]:
        record = store.find(node.stage.name, key(payload(node, keys, str)))
        if record and node.id not in found:
            found.add(node.id)
            yield node, record


def with_advice(recipe: Recipe, graph: Graph, steps: Sequence[Step], store: Store) -> Graph:
    """The graph with the advice that is there and a report that tells it. Nothing is added that is to be made."""
    report = graph.nodes.get("report")
    if report is None or not isinstance(report.config, ReportConfig):
        return graph
    advice = [node for node, _ in stored_advice(recipe, steps, store)]
    artifacts = (*report.config.artifacts, *(AnyRef(node.id) for node in advice))
    telling = replace(report, config=report.config.model_copy(update={"artifacts": artifacts}))
    return graph_of([*(node for node in graph if node is not report), *advice, telling]) if advice else graph
