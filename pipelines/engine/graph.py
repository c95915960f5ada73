"""The graph of a recipe: nodes that name each other, in an order in which they can run."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from pipelines.engine.stage import Config, Stage, refs


class Cycle(Exception):
    """Nodes that wait for each other: their ids, the first one again at the end."""

    def __init__(self, path: list[str]) -> None:
        super().__init__(" -> ".join(path))
        self.path = path


@dataclass(frozen=True)
class Node:
    """A stage with its config. Each Ref in the config is the id of another node, each InputPath is absolute.

    `after` names a verdict: the node runs only when that verdict does not block, but is not made from it.
    """

    id: str
    stage: Stage
    config: Config
    after: str = ""

    @property
    def kind(self) -> str:
        """The kind of artifact that this node makes."""
        return self.stage.kind(self.config)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Ids of the nodes whose artifacts this one reads."""
        return tuple(str(ref) for ref in refs(self.config))

    @property
    def before(self) -> tuple[str, ...]:
        """Ids of the nodes that must have ended before this one can start."""
        return (*self.inputs, self.after) if self.after else self.inputs


@dataclass(frozen=True)
class Graph:
    """Nodes by id, every node after its inputs."""

    nodes: dict[str, Node]

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes.values())

    def upstream(self, ids: Iterable[str]) -> "Graph":
        """The part of the graph that `ids` are made from or wait for, themselves included."""
        wanted: set[str] = set()
        pending = list(ids)
        while pending:
            name = pending.pop()
            if name not in wanted:
                wanted.add(name)
                pending += self.nodes[name].before
        return Graph({name: node for name, node in self.nodes.items() if name in wanted})


def graph_of(nodes: Iterable[Node]) -> Graph:
    """Order the nodes; ties keep the order given. Raises Cycle."""
    by_id = {node.id: node for node in nodes}
    sorter = TopologicalSorter({node.id: node.before for node in by_id.values()})
    try:
        sorter.prepare()
    except CycleError as error:
        raise Cycle(list(reversed(error.args[1]))) from None
    rank = {name: place for place, name in enumerate(by_id)}
    ordered: list[str] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=rank.__getitem__)
        ordered += ready
        sorter.done(*ready)
    return Graph({name: by_id[name] for name in ordered})
