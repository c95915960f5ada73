"""Advice on merging: measured where it was asked for, else from what the recipe alone says."""

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from pipelines.cli.prepared import home_of
from pipelines.cli.view import view
from pipelines.engine.graph import Graph, Node, graph_of
from pipelines.engine.plan import Step, busy_problems, make_plan
from pipelines.engine.runner import Settings, execute
from pipelines.engine.store import Record, Store
from pipelines.errors import UserError, wrong
from pipelines.merge.advice import advise
from pipelines.merge.advice_config import AdviceConfig
from pipelines.merge.grounds import Facts
from pipelines.merge.signals import as_json
from pipelines.recipe.advised import stored_advice
from pipelines.recipe.compile import compile_graph
from pipelines.recipe.lineage import advice_nodes
from pipelines.recipe.load import load
from pipelines.recipe.recipe import Recipe


class Advised(NamedTuple):
    """The advice on one merge. `missing` are the models that are not made, so that none could be measured."""

    name: str
    models: tuple[str, ...]
    missing: tuple[str, ...]
    advice: Mapping[str, Any]
    evidence: Mapping[str, Any] | None


def measured(path: Path, settings: Sequence[str], with_loss: bool) -> list[Advised]:
    """The advice on every merge of a recipe, measured now where its models are made and it was not before.

    UserError where the recipe has nothing to merge, or a measurement fails.
    """
    recipe = load(path, settings)
    graph = compile_graph(recipe)
    nodes = advice_nodes(recipe, graph.nodes, with_loss)
    if not nodes:
        fix = "Add a merge: section, or train several models on one base"
        raise wrong(str(path), "has nothing to merge", "", fix)
    store = Store(home_of(recipe.root))
    steps = _planned(graph, nodes, store, recipe)
    ready = [node for node in nodes if not steps[node.id].record and not _missing(node, steps)]
    if ready:
        _measure(recipe, store, [steps[name] for name in _ordered(ready)])
        steps = _planned(graph, nodes, store, recipe)
    return [_advised(node, steps[node.id].record, steps) for node in nodes]


def known(recipe: Recipe, steps: Sequence[Step], store: Store) -> list[Advised]:
    """The advice on every merge of a planned recipe as far as it is known. Nothing is measured."""
    by_id = {step.node.id: step for step in steps}
    found = {node.id: record for node, record in stored_advice(recipe, steps, store)}
    nodes = advice_nodes(recipe, {name: step.node for name, step in by_id.items()})
    return [_advised(node, found.get(node.id), by_id) for node in nodes]


def _planned(graph: Graph, nodes: Sequence[Node], store: Store, recipe: Recipe) -> dict[str, Step]:
    wider = graph_of([*graph, *nodes]).upstream([node.id for node in nodes])
    return {step.node.id: step for step in make_plan(wider, store, recipe.name)}


def _missing(node: Node, steps: Mapping[str, Step]) -> list[str]:
    return [name for name in node.inputs if not steps[name].record]


def _ordered(nodes: Sequence[Node]) -> list[str]:
    """What the nodes are made from, then the nodes themselves."""
    return list(dict.fromkeys([*(name for node in nodes for name in node.inputs), *(node.id for node in nodes)]))


def _measure(recipe: Recipe, store: Store, steps: list[Step]) -> None:
    """Run the advice stages. UserError where one fails or is stopped."""
    if problems := busy_problems(steps, store):
        raise UserError(*problems)
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    run_dir = store.home / "runs" / f"{stamp}-{os.getpid()}-{recipe.name}-advice"
    run_dir.mkdir(parents=True)
    with view(Console(stderr=True, soft_wrap=True), [step.node.id for step in steps]) as show:
        outcome = execute(steps, store, Settings(recipe.name, run_dir), show)
    if outcome.signal:
        raise KeyboardInterrupt
    if outcome.failure:
        raise UserError(*outcome.failure.problems)


def _advised(node: Node, record: Record | None, steps: Mapping[str, Step]) -> Advised:
    config = node.config
    assert isinstance(config, AdviceConfig)
    name = node.id.partition(".")[2]
    names = tuple(parent.name for parent in config.lineage.parents)
    if record:
        return Advised(name, names, (), record.metrics["advice"], record.metrics["evidence"])
    base = steps[str(config.base)].record
    parameters = base.metrics.get("parameters") if base else None
    advice = as_json(advise(Facts(config.lineage, parameters=parameters)))
    return Advised(name, names, tuple(_missing(node, steps)), advice, None)


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


def as_text(advised: Advised, recipe: Path) -> str:
    """Everything on one merge, as lines."""
    advice = advised.advice
    lines = [f"{advised.name}: {advice['verdict']} {', '.join(advised.models)}"]
    lines += [f"  why      {advice['says']} [{advice['source']}]"]
    lines += [f"  besides  {reason['says']} [{reason['source']}]" for reason in advice["reasons"]]
    for step in advice["steps"]:
        lines += [f"  next     {step['says']}", *(f"             {line}" for line in step["lines"])]
    if advised.missing:
        again = f"burnish run {recipe}"
        lines.append(f"  evidence none: {', '.join(advised.missing)} not made yet; run {again}, then ask again")
    if advised.evidence:
        lines += ["  evidence", *(f"    {line}" for line in _evidence(advised.evidence))]
    return "\n".join(lines) + "\n"


def _evidence(evidence: Mapping[str, Any]) -> Iterator[str]:
    read, total = evidence["sampled"], evidence["parameters"]
    yield f"read {read} of {total} weights of each model; subspaces on {len(evidence['matrices'])} matrices"
    for model in evidence["models"]:
        yield f"{model['name']}: size {model['size']}, unchanged in bfloat16 {model['unchanged']:.1%}"
        yield "  size by layer: " + ", ".join(f"{layer} {size}" for layer, size in model["layers"].items())
    for pair in evidence["pairs"]:
        overlap = "" if pair["overlap"] is None else f", overlap {pair['overlap']} (chance {pair['chance']})"
        yield (
            f"{' - '.join(pair['models'])}: cosine {pair['cosine']}, norm ratio {pair['ratio']}, top 20 %: shared "
            f"{pair['shared']:.1%}, opposite signs {pair['conflict']:.1%}{overlap}"
        )
    for curve in evidence["curves"]:
        points = ", ".join(f"{alpha:g}: {loss}" for alpha, loss in zip(curve["alphas"], curve["losses"], strict=True))
        where = f"{' -> '.join(curve['ends'])} on {curve['rows']} rows of {curve['data']}"
        yield f"{where}: {points}; barrier {curve['barrier']}"


def tell(advised: Sequence[Advised], recipe: Path) -> None:
    """Print everything."""
    sys.stdout.write("\n".join(as_text(one, recipe) for one in advised))
