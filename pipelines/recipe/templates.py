"""Conversations on a model that has no chat template for them: refused before anything is started."""

from collections.abc import Iterable
from pathlib import Path

from pipelines.base.config import BaseConfig
from pipelines.engine.graph import Graph, Node
from pipelines.errors import Problem, UserError
from pipelines.evaluate.config import EvaluateConfig
from pipelines.hf.folder import chat_template
from pipelines.prepare.card import card_of, meaning_of
from pipelines.prepare.config import PrepareConfig
from pipelines.replay.config import ReplayConfig, SelfWritten

_INSTRUCTED = "Use an instruction-tuned base, or put its chat_template.jinja into the folder"


def template_problems(graph: Graph, nodes: Iterable[Node]) -> list[tuple[str, Problem]]:
    """(node id, problem) of each node that needs a chat template which its model, a local folder, does not have."""
    found = []
    for node in nodes:
        model, fix = _needs(node)
        source = graph.nodes[model].config if model in graph.nodes else None
        if isinstance(source, BaseConfig) and source.path is not None and _lacks(Path(source.path)):
            what = "needs a chat template, and the model has none"
            found.append((node.id, Problem("", what, Path(source.path).name, fix)))
    return found


def _needs(node: Node) -> tuple[str, str]:
    """The node id of the model whose template is needed, and the way out; no id where none is needed."""
    config = node.config
    if isinstance(config, PrepareConfig) and _talks(config):
        return config.base, f"{_INSTRUCTED}, or use `format: text` for plain text"
    if isinstance(config, ReplayConfig) and isinstance(config.policy, SelfWritten):
        return config.base, _INSTRUCTED
    if isinstance(config, EvaluateConfig) and any(task.chat_template for task in config.suite.tasks.values()):
        return config.model, "Set chat_template: false on the suite's tasks"
    return "", ""


def _talks(config: PrepareConfig) -> bool:
    try:
        return meaning_of(config, card_of(config)).format != "text"
    except UserError:  # told by the room's own check
        return False


def _lacks(folder: Path) -> bool:
    """Whether the folder is a model's and has no template; what else is wrong with it, the room's check tells."""
    try:
        return not chat_template(folder)
    except UserError:
        return False
