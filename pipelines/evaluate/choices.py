"""Tasks of several choices: which one a model picks by the metric that is declared, and what a guess would score."""

import math
from collections.abc import Sequence
from typing import Any

PICKS = ("acc", "acc_norm", "acc_bytes", "acc_mutual_info")
"""Metrics that a guess gets right as often as there are right choices among all."""

Row = dict[str, Any]
"""One document as lm-eval logs it."""


def picks(task: Any) -> bool:
    """Whether lm-eval itself judges which of several choices is the likeliest."""
    return task.OUTPUT_TYPE == "multiple_choice" and not callable(task.config.process_results)


def picked(task: Any, row: Row, metric: str) -> str:
    """The choice that is judged: the likeliest by `metric`'s own measure, or by log-likelihood under any other."""
    choices = task.doc_to_choice(row["doc"])
    values = [first[0] for first, *_ in row["resps"]]
    if metric == "acc_mutual_info":
        pairs = zip(values, values[len(choices) :], strict=False)
        values = [conditional - alone for conditional, alone in pairs]
    elif metric in ("acc_norm", "acc_bytes"):
        sizes = [len(choice if metric == "acc_norm" else choice.encode()) for choice in choices]
        values = [value / size if size else value for value, size in zip(values, sizes, strict=False)]
    best = max(range(len(choices)), key=lambda choice: values[choice])
    return str(choices[best]).strip()


def wanted(task: Any, row: Row) -> str:
    """The right choices, as text where the target names them."""
    choices = task.doc_to_choice(row["doc"])
    return " | ".join(
        str(one if isinstance(one, str) or not 0 <= one < len(choices) else choices[one]).strip()
        for one in _targets(task, row)
    )


def unlabelled(task: Any, row: Row) -> bool:
    """Whether the target is none of the choices: lm-eval counts such a document as wrong, with a warning only."""
    choices = task.doc_to_choice(row["doc"])
    return not all(one in choices if isinstance(one, str) else 0 <= one < len(choices) for one in _targets(task, row))


def chance(task: Any, rows: Sequence[Row]) -> float:
    """The mean over documents of right choices over choices."""
    shares = [len(_targets(task, row)) / len(task.doc_to_choice(row["doc"])) for row in rows]
    return math.fsum(shares) / len(shares)


def _targets(task: Any, row: Row) -> list[Any]:
    """Where every choice has a prompt of its own, doc_to_text says which is right."""
    target = task.doc_to_text(row["doc"]) if task.multiple_input else row["target"]
    return target if isinstance(target, list) else [target]
