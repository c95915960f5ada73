"""How far a model has moved from its base: KL divergence and top-1 agreement on the base's kind of answers."""

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import torch
from transformers import PreTrainedModel

from pipelines.errors import wrong
from pipelines.evaluate.batches import batches, pad
from pipelines.evaluate.share import shared
from pipelines.evaluate.subject import Tick
from pipelines.hf.chat import IGNORED
from pipelines.hf.rows import Row

_CHUNK = 256
"""Positions whose full distributions are in memory at once."""


class Drifted(NamedTuple):
    """Over the answer tokens of one row: summed KL in nats, tokens on which the first choices agree, tokens."""

    kl: float
    agree: int
    tokens: int


@torch.inference_mode()
def drift(
    base: PreTrainedModel,
    model: PreTrainedModel,
    rows: Sequence[Row],
    batch_size: int,
    tick: Tick,
) -> list[Drifted]:
    """KL(base || model) of each row, in nats over the whole vocabulary; `base is model` gives exactly 0.

    The forward direction: what the base would have said and the model no longer does (the one that
    Shenfeld et al. 2025, arXiv 2509.04259, find to predict forgetting).
    """
    sizes = [one.config.get_text_config().vocab_size for one in (base, model)]
    if sizes[0] != sizes[1]:
        raise wrong(
            "drift",
            "the model's vocabulary is not the base's",
            f"{sizes[1]} and {sizes[0]} tokens",
            "Measure drift between models of one vocabulary",
        )
    parts = batches([len(row.input_ids) for row in rows], sizes[0], batch_size)
    found = shared(parts, lambda indices: _batch(base, model, [rows[index] for index in indices]), tick)
    by_row = dict(zip(chain.from_iterable(parts), chain.from_iterable(found), strict=True))
    return [by_row[row] for row in range(len(rows))]


def _batch(base: PreTrainedModel, model: PreTrainedModel, rows: Sequence[Row]) -> list[Drifted]:
    """Padding stands on the right, where causal attention does not look."""
    ids = pad([row.input_ids for row in rows], 0, base.device)
    answers = pad([row.labels for row in rows], IGNORED, base.device)[:, 1:] != IGNORED
    before = base(ids, use_cache=False).logits[:, :-1][answers]
    after = before if model is base else model(ids, use_cache=False).logits[:, :-1][answers]
    kl, agree = _compare(before, after)
    parts = [row.loss_tokens for row in rows]
    return [
        Drifted(float(nats.sum()), int(same.sum()), tokens)
        for nats, same, tokens in zip(torch.split(kl, parts), torch.split(agree, parts), parts, strict=True)
    ]


def _compare(before: torch.Tensor, after: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """KL (float64) and agreement of two (positions, vocab) tensors of logits, position by position."""
    kl = []
    for p, q in zip(torch.split(before, _CHUNK), torch.split(after, _CHUNK), strict=True):
        log_p, log_q = p.float().log_softmax(-1), q.float().log_softmax(-1)
        kl.append((log_p.exp() * (log_p - log_q)).sum(-1, dtype=torch.float64))
    return torch.cat(kl), before.argmax(-1) == after.argmax(-1)
