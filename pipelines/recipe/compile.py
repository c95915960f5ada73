"""From a recipe to the graph of its stages."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from pipelines.base.config import STAGE as BASE
from pipelines.engine.graph import Cycle, Graph, Node, graph_of
from pipelines.engine.stage import AnyRef, ExportRef, Stage, VerdictRef
from pipelines.errors import Problem, UserError
from pipelines.export.config import ExportEntry
from pipelines.gate.config import GateConfig
from pipelines.merge.config import STAGE as MERGE
from pipelines.merge.config import MergeConfig
from pipelines.prepare.config import STAGE as PREPARE
from pipelines.recipe.exports import exports
from pipelines.recipe.gates import verdict
from pipelines.recipe.kept import kept_problems
from pipelines.recipe.measure import Scores, candidate_of, evaluations, selections, to_measure
from pipelines.recipe.mistakes import at, in_order
from pipelines.recipe.names import Names, kind_of, name_of, word
from pipelines.recipe.recipe import Recipe
from pipelines.recipe.search import searches
from pipelines.recipe.served import choices, through_gates
from pipelines.replay.config import STAGE as REPLAY
from pipelines.report.config import STAGE as REPORT
from pipelines.report.config import ReportConfig
from pipelines.search.config import MergeEntry
from pipelines.train.config import STAGE as TRAIN

_STAGES: dict[str, Stage] = {
    "base": BASE,
    "data": PREPARE,
    "replay": REPLAY,
    "train": TRAIN,
    "merge": MERGE,
}


def compile_graph(recipe: Recipe) -> Graph:
    """The stages that the recipe asks for. Raises UserError with every reference that does not fit."""
    linked = link(recipe)
    if linked.problems:
        raise UserError(*in_order(linked.problems))
    return _reported(recipe, linked)


class Linked(NamedTuple):
    """What could be linked of a recipe, and what is wrong with its references."""

    graph: Graph
    scores: Scores
    judged: Node | None
    problems: list[Problem]


def link(recipe: Recipe) -> Linked:
    """Link what can be linked of a recipe, sound or not; the report is left out."""
    names = Names(recipe)
    entries = _entries(recipe, names)
    shipped = [node for node in entries if node.kind == "export"]
    nodes = [node for node in entries if node.kind != "export"]
    scores: Scores = {}
    measured: list[Node] = []
    judged = None
    if recipe.evaluate or not recipe.states(("evaluate",)):
        measured, scores = evaluations(recipe, names, to_measure(recipe, names))
        through, served = through_gates(recipe, names)
        measured, scores = [*measured, *through], scores | served
        # The base first: what only lm-eval finds wrong with a suite then shows before anything is trained.
        first = [node for node in measured if node.id.startswith("evaluate.base@")]
        later = [node for node in measured if node not in first]
        nodes = [*first, *nodes, *later]
        nodes += [*selections(recipe, names, scores), *searches(recipe, names, measured, scores)]
        shipped += choices(recipe, names)
        judged = verdict(recipe, names, scores)
    nodes += [*names.bakes(), *([judged] if judged else [])]
    try:
        graph = _held(graph_of(_rooted([*nodes, *shipped])), judged, measured, shipped)
    except Cycle as cycle:
        return Linked(Graph({}), scores, judged, [*names.problems, _circle(recipe, cycle)])
    return Linked(graph, scores, judged, names.problems)


def _entries(recipe: Recipe, names: Names) -> list[Node]:
    """Nodes of the entries that are stages as they stand: all but selections and searches, which need scores."""
    nodes = []
    for entry in recipe.entries.values():
        if entry.config is None:
            names.check_written(entry)
        if entry.id == "base" and entry.config and entry.config.adapter:
            what, fix = "the base of a recipe is a model", "Name the adapter where it is merged"
            names.problems.append(at(recipe.origin(entry.path), (*entry.path, "adapter"), what, "", fix))
        if entry.section not in (*_STAGES, "export") or entry.config is None:
            continue
        config = names.resolved(entry.config, entry.path)
        if isinstance(config, MergeConfig):
            _check_ancestor(recipe, names, entry.path, entry.config, config)
            _check_kinds(recipe, names, entry.path, entry.config)
            config = _with_quantised(names, entry.config, config)
            names.problems += kept_problems(recipe, names, entry.path, entry.config)
        if isinstance(config, MergeEntry):
            if config.search:
                continue
            config = config.plain()
        if isinstance(config, ExportEntry):
            nodes += exports(recipe, names, entry, config)
            continue
        nodes.append(Node(entry.id, _STAGES[entry.section], config))
    return nodes


def _check_ancestor(recipe: Recipe, names: Names, path: Any, written: MergeConfig, config: MergeConfig) -> None:
    """An adapter is a difference from the model it was trained from, and from no other."""
    for place, member in enumerate(written.models):
        entry = names.entry(member.use)
        if entry is None or kind_of(entry) != "adapter" or entry.section == "base":
            continue
        start = names.base_of(entry)
        if start != config.base:
            where = (*path, "models", place, "use")
            what = f"adapter '{member.use}' was trained from '{name_of(start)}', not from '{name_of(config.base)}'"
            names.problems.append(
                at(recipe.origin(where), where, what, "", f"Set base: {name_of(start)} in this merge")
            )


def _check_kinds(recipe: Recipe, names: Names, path: Any, written: MergeConfig) -> None:
    """Some methods merge adapters alone, or models alone."""
    method = written.method
    for place, member in enumerate(written.models):
        entry = names.entry(member.use)
        if entry is None or kind_of(entry) not in ("model", "adapter") or kind_of(entry) in method.takes:
            continue
        where = (*path, "models", place, "use")
        what = f"{method.kind} merges {method.takes[0]}s, but '{member.use}' makes {word(kind_of(entry))}"
        names.problems.append(at(recipe.origin(where), where, what, "", "Use task_arithmetic, which merges both"))


def _with_quantised(names: Names, written: MergeConfig, config: MergeConfig) -> MergeConfig:
    """The 4-bit base filled in where one adapter of this recipe, trained on it, is baked."""
    baked = len(config.models) == 1 and config.method.kind == "linear" and config.engine == "burnish"
    entry = names.entry(written.models[0].use)
    if not baked or config.quantised or entry is None or entry.config is None:
        return config
    found = names.quantised(entry)
    return config.model_copy(update={"quantised": found}) if found else config


def _held(graph: Graph, judged: Node | None, measured: Sequence[Node], shipped: Sequence[Node]) -> Graph:
    """The graph with what is shipped behind the verdict, but for what is measured to come to it or to be shown."""
    if judged is None or judged.id not in graph.nodes:
        return graph
    needed = graph.upstream([judged.id, *(node.id for node in measured if node.id in graph.nodes)]).nodes
    waiting = {node.id for node in shipped} - needed.keys()
    return graph_of(replace(node, after=judged.id) if node.id in waiting else node for node in graph)


def _rooted(nodes: list[Node]) -> list[Node]:
    """The nodes without those that wait, near or far, for something that could not be linked."""
    while True:
        known = {node.id for node in nodes} | {""}
        sound = [node for node in nodes if known.issuperset((*node.inputs, node.after))]
        if len(sound) == len(nodes):
            return nodes
        nodes = sound


def _circle(recipe: Recipe, cycle: Cycle) -> Problem:
    places = [recipe.entries[name] for name in cycle.path if name in recipe.entries]
    steps = " -> ".join(f"{entry.id} ({recipe.origin(entry.path)})" for entry in places)
    return at(recipe.origin(places[0].path), places[0].path, f"entries are made from each other in a circle: {steps}")


def _reported(recipe: Recipe, linked: Linked) -> Graph:
    """The graph with the report at its end, where anything is made at all."""
    graph, judged = linked.graph, linked.judged
    if not graph.nodes:
        return graph
    candidate = candidate_of(recipe)
    told = {str(ref) for models in linked.scores.values() for ref in models.values()}
    told |= {judged.id} if judged else set()
    config = ReportConfig(
        recipe=recipe.name,
        command=command(recipe),
        candidate=candidate.name if candidate else "",
        scores=linked.scores,
        through=_through(judged),
        verdict=VerdictRef(judged.id) if judged else None,
        artifacts=tuple(AnyRef(node.id) for node in graph if node.id not in told),
        formats=recipe.report.formats,
        cost_per_hour=recipe.report.cost_per_hour,
        currency=recipe.report.currency,
    )
    return graph_of([*graph, Node("report", REPORT, config)])


def _through(judged: Node | None) -> dict[str, ExportRef]:
    """The suites that were measured on what is shipped, with the export of each."""
    gates = judged.config.gates if judged and isinstance(judged.config, GateConfig) else ()
    return {gate.suite: gate.through for gate in gates if gate.through}


def command(recipe: Recipe) -> str:
    """What makes all of it again, typed in the project's root."""
    path = recipe.path.resolve().relative_to(recipe.root.resolve()).as_posix()
    settings = (part for override in recipe.overrides for part in ("--set", override))
    return shlex.join(["burnish", "run", path, *settings])
