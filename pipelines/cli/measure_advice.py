"""Measures models for advice on merging them, as stages of their own, and prints it all."""

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from pipelines.cli.merge_advice import Advised, advised_on, missing
from pipelines.cli.view import view
from pipelines.engine.graph import Graph, Node, graph_of
from pipelines.engine.home import home_of
from pipelines.engine.plan import Step, busy_problems, make_plan
from pipelines.engine.runner import Settings, execute
from pipelines.engine.store import Record, Store
from pipelines.errors import UserError, wrong
from pipelines.recipe.advised import stored_advice
from pipelines.recipe.compile import compile_graph
from pipelines.recipe.lineage import advice_nodes
from pipelines.recipe.load import load
from pipelines.recipe.recipe import Recipe


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
    found = {} if with_loss else _found(recipe, steps, store)
    ready = [node for node in nodes if node.id not in found and not missing(node, steps)]
    if any(steps[node.id].record is None for node in ready):
        _measure(recipe, store, [steps[name] for name in _ordered(ready)])
        steps = _planned(graph, nodes, store, recipe)
    return [advised_on(node, found.get(node.id, steps[node.id].record), steps) for node in nodes]


def _planned(graph: Graph, nodes: Sequence[Node], store: Store, recipe: Recipe) -> dict[str, Step]:
    wider = graph_of([*graph, *nodes]).upstream([node.id for node in nodes])
    return {step.node.id: step for step in make_plan(wider, store, recipe.name)}


def _found(recipe: Recipe, steps: Mapping[str, Step], store: Store) -> dict[str, Record]:
    """What was measured before, with losses or without."""
    return {node.id: record for node, record in stored_advice(recipe, list(steps.values()), store)}


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
