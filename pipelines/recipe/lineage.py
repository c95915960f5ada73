"""What a recipe says of where models come from, for the advice on merging them."""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel

from pipelines.base.config import BaseConfig
from pipelines.engine.graph import Node
from pipelines.engine.stage import DatasetRef, ModelRef, Ref, Runtime, WeightsRef, refs
from pipelines.merge.advice.config import STAGE, AdviceConfig, Judged, Lineage, Parent
from pipelines.merge.config import MergeConfig
from pipelines.prepare.config import PrepareConfig
from pipelines.recipe.names import Names, name_of
from pipelines.recipe.recipe import Recipe
from pipelines.replay.config import ReplayConfig
from pipelines.select.config import SelectEntry
from pipelines.train.config import TrainConfig

Nodes = Mapping[str, Node]
_WEIGHTS = ("model", "adapter")
_PATHS = ("path", "adapter")


class _History(NamedTuple):
    """The training runs that made a model, the last one last, and the models that it goes back to."""

    runs: tuple[Node, ...]
    roots: tuple[str, ...]


def advice_nodes(recipe: Recipe, nodes: Nodes, with_loss: bool = False) -> list[Node]:
    """A node for every merge of the recipe; without a merge, for trained models that start from the same one.

    With `with_loss` the loss is to be measured on the data of every model that the recipe trains.
    """
    return [
        Node(f"advice.{name}", STAGE, _config(recipe, nodes, base, members, with_loss))
        for name, base, members in _subjects(recipe, nodes)
        if {base, *members} <= nodes.keys()
    ]


def _subjects(recipe: Recipe, nodes: Nodes) -> Iterator[tuple[str, str, list[str]]]:
    """Name, base and models, by node ids, of what is or could be merged."""
    names, merges = Names(recipe), recipe.configs("merge")
    for name, merge in merges.items():
        if isinstance(merge, MergeConfig):
            path = ("merge", name)
            members = [str(names.id_of(member.use, path)) for member in merge.models]
            yield name, str(names.id_of(merge.base, path)), members
    if merges:
        return
    trained = [node for node in nodes.values() if isinstance(node.config, TrainConfig)]
    starts = {str(ref) for node in trained for ref in _weights(nodes, node)}
    ends = [node for node in trained if not starts & {node.id, f"merge.{name_of(node.id)}+base"}]
    for base in dict.fromkeys(_base(node) for node in ends):
        members = [node.id for node in ends if _base(node) == base]
        if len(members) > 1:
            yield "trained" if base == "base" else f"trained-on-{name_of(base)}", base, members


def _base(node: Node) -> str:
    return str(node.config.base) if isinstance(node.config, TrainConfig) else ""


def _config(recipe: Recipe, nodes: Nodes, base: str, members: Sequence[str], with_loss: bool) -> AdviceConfig:
    histories = [_history(nodes, member, base) for member in members]
    data = [_data(history) for history in histories]
    judged = [
        Judged(use=WeightsRef(member), loss_on=DatasetRef(found[-1]) if with_loss and found else None)
        for member, found in zip(members, data, strict=True)
    ]
    return AdviceConfig(base=ModelRef(base), models=tuple(judged), lineage=_lineage(recipe, nodes, base, members))


def _lineage(recipe: Recipe, nodes: Nodes, base: str, members: Sequence[str]) -> Lineage:
    histories = [_history(nodes, member, base) for member in members]
    last = [history.runs[-1] for history in histories if history.runs]
    datasets = dict.fromkeys(name for history in histories for name in _data(history))
    return Lineage(
        base=name_of(base),
        parents=tuple(
            _parent(recipe, nodes, member, base, history) for member, history in zip(members, histories, strict=True)
        ),
        differ=_differences(last),
        training=_training(last[0]) if last else "",
        replay=next(
            (node.id.partition(".")[2] for node in nodes.values() if isinstance(node.config, ReplayConfig)), ""
        ),
        files=_files(recipe, [nodes[name] for name in datasets]),
        **_objective(recipe),
    )


def _parent(recipe: Recipe, nodes: Nodes, member: str, base: str, history: _History) -> Parent:
    foreign = [name_of(root) for root in history.roots if root != base] if history.runs else []
    last = history.runs[-1].config if history.runs else None
    return Parent(
        name=name_of(member),
        adapter=nodes[member].kind == "adapter",
        method=last.method.kind if isinstance(last, TrainConfig) else "",
        data=tuple(name_of(name) for name in _data(history)),
        foreign=", ".join(foreign),
        source=_source(recipe, nodes[member]),
    )


def _source(recipe: Recipe, node: Node) -> str:
    """A source that stands where it is used, as recipe lines have it; nothing for an entry with a name."""
    if not (isinstance(node.config, BaseConfig) and ":" in node.id):
        return ""
    told = node.config.model_dump(mode="json", exclude_defaults=True)
    found = {key: os.path.relpath(value, recipe.root) if key in _PATHS else value for key, value in told.items()}
    return f"{{{', '.join(f'{key}: {_plain(value)}' for key, value in found.items())}}}"


def _plain(value: str) -> str:
    """A text as YAML takes it, in quotes where it could mean something else there."""
    return value if re.fullmatch(r"[A-Za-z./~][\w./@=-]*", value) else json.dumps(value)


def _history(nodes: Nodes, identity: str, base: str) -> _History:
    """The way of a model back to `base`, or to whatever models it was made from."""
    node = nodes[identity]
    before = [] if identity == base else [_history(nodes, str(ref), base) for ref in _weights(nodes, node)]
    runs = [run for history in before for run in history.runs]
    runs += [node] if identity != base and isinstance(node.config, TrainConfig) else []
    roots = [root for history in before for root in history.roots]
    return _History(tuple({run.id: run for run in runs}.values()), tuple(dict.fromkeys(roots)) or (identity,))


def _weights(nodes: Nodes, node: Node) -> list[Ref]:
    """The models and adapters that a node is made from."""
    return [ref for ref in refs(node.config) if nodes[str(ref)].kind in _WEIGHTS]


def _data(history: _History) -> list[str]:
    """Ids of the datasets that were trained on."""
    configs = (run.config for run in history.runs)
    return list(dict.fromkeys(str(config.on) for config in configs if isinstance(config, TrainConfig)))


def _differences(runs: Iterable[Node]) -> tuple[str, ...]:
    """Settings of training runs that are not the same in all."""
    flat = [dict(_settings(run.config)) for run in runs]
    names = dict.fromkeys(name for one in flat for name in one)
    return tuple(name for name in names if len({repr(one.get(name)) for one in flat}) > 1)


def _settings(config: BaseModel, before: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting that says what is made, but for the base and the data."""
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if (not before and name in ("base", "on")) or any(isinstance(mark, Runtime) for mark in field.metadata):
            continue
        if isinstance(value, BaseModel):
            yield from _settings(value, f"{before}{name}.")
        else:
            yield f"{before}{name.rstrip('_')}", value


def _training(run: Node) -> str:
    """Method and learning rate of a run, as recipe lines have them."""
    if not isinstance(run.config, TrainConfig):
        return ""
    method = run.config.method.model_dump(mode="json", exclude_defaults=True)
    told = ", ".join(f"{name}: {_value(value)}" for name, value in method.items())
    return f"method: {{{told}}}, learning_rate: {run.config.learning_rate:.1e}"


def _objective(recipe: Recipe) -> dict[str, str]:
    """Score and suite of the recipe's first selection."""
    rules = (entry for entry in recipe.configs("select").values() if isinstance(entry, SelectEntry))
    if (rule := next(rules, None)) is None:
        return {}
    goal = f"maximize: {rule.maximize}" if rule.maximize else f"minimize: {rule.minimize}"
    return {"objective": goal, "suite": rule.suite}


def _value(value: Any) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, (list, tuple)) else str(value)


def _files(recipe: Recipe, datasets: Sequence[Node]) -> tuple[str, ...]:
    """The files of several datasets by their paths from the project's root, where one dataset could read them all."""
    configs = [node.config for node in datasets if isinstance(node.config, PrepareConfig)]
    shapes = {(config.format, tuple(config.columns.items()), config.system) for config in configs}
    paths = [path for config in configs for path in _paths(config)]
    if len(configs) < 2 or len(configs) < len(datasets) or len(shapes) > 1 or not all(map(_paths, configs)):
        return ()
    return tuple(os.path.relpath(path, recipe.root) for path in dict.fromkeys(paths))


def _paths(config: PrepareConfig) -> tuple[str, ...]:
    files = config.source.files
    return () if files is None else tuple(map(str, files)) if isinstance(files, tuple) else (str(files),)
