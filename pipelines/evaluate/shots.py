"""Examples in the prompt: where they come from, that there are enough, and that none of them is measured."""

import json
from collections.abc import Mapping
from typing import Any

from pipelines.errors import wrong
from pipelines.evaluate.ready import Ready


def check_shots(ready: Ready, task: Any) -> None:
    """lm-eval takes examples from the measured documents where a task has no others. That leaks; refuse."""
    examples = task.has_training_docs() or task.config.fewshot_config.split or task.config.fewshot_config.samples
    if task.config.num_fewshot and not examples:
        raise wrong(
            ready.where,
            "has no documents to take the examples in the prompt from",
            f"{task.config.num_fewshot} shots",
            "Set shots: 0, or shots: N with documents of a dataset that has a train split",
        )
    if task.config.num_fewshot and ready.documents and task.has_training_docs():
        _check_examples(ready, task)


def _check_examples(ready: Ready, task: Any) -> None:
    """Enough of them, and none that is measured too: its prompt could hold its own answer."""
    shots, examples = task.config.num_fewshot, [_told(doc) for doc in task.training_docs()]
    if len(examples) < shots:
        fix = "Lower shots, or give more examples"
        raise wrong(ready.where, f"has {len(examples)} examples for the prompt", f"{shots} shots", fix)
    if both := {_told(doc) for doc in task.eval_docs}.intersection(examples):
        fix = "Take examples from documents that are not measured"
        raise wrong(ready.where, "examples in the prompt are measured documents too", f"{len(both)} of them", fix)


def _told(doc: Mapping[str, Any]) -> str:
    return json.dumps(doc, sort_keys=True, default=str)
