"""Advice on merging as far as it is known: measured before, or else from what the recipe alone says."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.engine.graph import Node
from pipelines.engine.plan import Step
from pipelines.engine.store import Record, Store
from pipelines.merge.advice.config import AdviceConfig
from pipelines.merge.advice.grounds import Facts
from pipelines.merge.advice.rules import advise
from pipelines.merge.advice.signals import as_json
from pipelines.recipe.advised import stored_advice
from pipelines.recipe.lineage import advice_nodes
from pipelines.recipe.recipe import Recipe


class Advised(NamedTuple):
    """The advice on one merge. `missing` are the models that are not made, so that none could be measured."""

    name: str
    models: tuple[str, ...]
    missing: tuple[str, ...]
    advice: Mapping[str, Any]
    evidence: Mapping[str, Any] | None


def known(recipe: Recipe, steps: Sequence[Step], store: Store) -> list[Advised]:
    """The advice on every merge of a planned recipe as far as it is known. Nothing is measured."""
    by_id = {step.node.id: step for step in steps}
    found = {node.id: record for node, record in stored_advice(recipe, steps, store)}
    nodes = advice_nodes(recipe, {name: step.node for name, step in by_id.items()})
    return [advised_on(node, found.get(node.id), by_id) for node in nodes]


def missing(node: Node, steps: Mapping[str, Step]) -> list[str]:
    """What a node is made from and is not made itself."""
    return [name for name in node.inputs if not steps[name].record]


def advised_on(node: Node, record: Record | None, steps: Mapping[str, Step]) -> Advised:
    """What an artifact says, or else what the recipe does."""
    config = node.config
    assert isinstance(config, AdviceConfig)
    name = node.id.partition(".")[2]
    names = tuple(parent.name for parent in config.lineage.parents)
    if record:
        return Advised(name, names, (), record.metrics["advice"], record.metrics["evidence"])
    base = steps[str(config.base)].record
    parameters = base.metrics.get("parameters") if base else None
    advice = as_json(advise(Facts(config.lineage, parameters=parameters)))
    return Advised(name, names, tuple(missing(node, steps)), advice, None)


def told(advised: Advised) -> dict[str, Any]:
    """As data; `measured` says whether weights were read."""
    return {
        "name": advised.name,
        "models": list(advised.models),
        "measured": bool(advised.advice["measured"]),
        "missing": list(advised.missing),
        "advice": dict(advised.advice),
        "evidence": advised.evidence,
    }


def in_a_line(advised: Advised, recipe: Path) -> str:
    """One line for the plan."""
    advice = advised.advice
    line = f"advice on {advised.name}: {advice['verdict']} {', '.join(advised.models)} [{advice['source']}]"
    if advised.evidence or advice["rule"] == "unfit":
        return line
    return f"{line}; from lineage alone, evidence: burnish show merge-advice {recipe}"
