"""A model opened for measuring, whatever runs it: what every backend yields and every measurement takes."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines.engine.stage import Artifact

Tick = Callable[[int, int], None]
"""Told how many of how many are done."""


class Generated(NamedTuple):
    """How one answer came about: `cut` at max_gen_toks before it ended; `finite` where no logit was NaN."""

    cut: bool
    finite: bool = True


class Subject(NamedTuple):
    """`lm` is what lm-eval asks; it is told nothing of other processes (rank 0 of 1).

    `generated` tells of the answers of its latest `generate_until`, in the order of the requests. `nlls(documents,
    max_length, tick)` gives the negative log-likelihood of whole documents in nats, in windows of at most max_length
    tokens. `count` counts the tokens of a prompt as `lm` would. `max_length` is the longest prompt in tokens,
    `max_gen_toks` the longest answer of tasks that do not say. `facts` goes into every contract: backend, dtype,
    device, tokenizer (a digest) and the versions of what computes. `model` is None where it runs in another process,
    so that only log-likelihoods and answers can be had of it. `notes` are for the reader of the scores.
    """

    lm: Any
    generated: Callable[[], Sequence[Generated]]
    nlls: Callable[[Sequence[str], int, Tick], list[float]]
    count: Callable[[str], int]
    template: str | None
    max_length: int
    max_gen_toks: int
    facts: dict[str, Any]
    words: PreTrainedTokenizerBase | None = None
    model: PreTrainedModel | None = None
    notes: tuple[str, ...] = ()


def served(model: Artifact) -> Artifact:
    """The model as its folder of weights: of an export, which holds several folders, the one that is served."""
    return replace(model, path=model.path / model.metrics["folder"]) if model.kind == "export" else model
