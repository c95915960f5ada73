"""Bits per byte of plain text: every token is scored exactly once, the first one after BOS."""

import math
from collections.abc import Iterator, Sequence
from itertools import chain, pairwise
from pydoc_data.topics import topics
from typing import NamedTuple

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines.errors import wrong
from pipelines.evaluate.batches import batches, pad
from pipelines.evaluate.score import text_hash
from pipelines.evaluate.share import shared
from pipelines.evaluate.subject import Tick


class Window(NamedTuple):
    """Tokens that go in and the last `scored` of the tokens that follow them, one step on."""

    document: int
    inputs: list[int]
    targets: list[int]


def python_topics() -> list[str]:
    """The topics of Python's built-in help, sorted by their keys."""
    return [text for _, text in sorted(topics.items())]


def keep(documents: Sequence[str], split: str | None, max_bytes: int | None) -> list[str]:
    """The documents of one half, cut to `max_bytes` at a character. The half hangs on the text before the cut."""
    half = [text for text in documents if split is None or (int(text_hash(text)[:8], 16) % 2 == 0) == (split == "dev")]
    return [text.encode()[:max_bytes].decode("utf-8", "ignore") for text in half]


def windows(document: int, tokens: Sequence[int], prefix: int, length: int) -> Iterator[Window]:
    """Disjoint windows of at most `length` tokens; the last one reaches back for a full context.

    The same rule as lm-eval's `get_rolling_token_windows` with a context of 1: the first token is conditioned on
    `prefix`, BOS or else EOS.
    """
    all_tokens = [prefix, *tokens]
    starts = [*range(0, len(tokens), length), len(tokens)]
    for start, end in pairwise(starts):
        yield Window(document, all_tokens[max(0, end - length) : end], list(tokens[start:end]))


def first_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """What the first token of a text is conditioned on: BOS, else EOS."""
    token = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if token is None:
        raise wrong("tokenizer", "has neither BOS nor EOS", fix="Add one to tokenizer_config.json")
    return int(token)


@torch.inference_mode()
def nlls(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    documents: Sequence[str],
    max_length: int,
    batch_size: int,
    tick: Tick,
) -> list[float]:
    """Negative log-likelihood of each document in nats, summed in float64."""
    prefix = first_token(tokenizer)
    encoded = tokenizer(list(documents), add_special_tokens=False)["input_ids"]
    every = [w for index, tokens in enumerate(encoded) for w in windows(index, tokens, prefix, max_length)]
    vocabulary = model.config.get_text_config().vocab_size
    rows = batches([len(window.inputs) for window in every], vocabulary, batch_size)
    sums = [0.0] * len(documents)
    found = shared(rows, lambda batch: _window_nlls(model, [every[row] for row in batch]), tick)
    for row, nll in zip(chain.from_iterable(rows), chain.from_iterable(found), strict=True):
        sums[every[row].document] += nll
    return sums


def _window_nlls(model: PreTrainedModel, batch: Sequence[Window]) -> list[float]:
    """Causal attention never looks at the padding on the right, so that no mask is needed."""
    logits = model(pad([window.inputs for window in batch], 0, model.device), use_cache=False).logits
    result = []
    for window, row in zip(batch, logits, strict=True):
        scored = row[len(window.inputs) - len(window.targets) : len(window.inputs)].float()
        targets = torch.tensor(window.targets, device=model.device)
        losses = torch.nn.functional.cross_entropy(scored, targets, reduction="none")
        result.append(float(losses.double().sum()))
    return result


def bits(nats: float) -> float:
    return nats / math.log(2)
