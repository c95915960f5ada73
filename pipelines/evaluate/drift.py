"""How far a model has moved from its base: KL divergence and top-1 agreement on the base's kind of answers."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from transformers import PreTrainedModel

from pipelines.errors import wrong
from pipelines.evaluate.batches import batches, pad
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
    tick: Callable[[int, int], None],
) -> list[Drifted]:
    """KL(base || model) of each row, in nats over the whole vocabulary; `base is model` gives exactly 0.

    The forward direction: what the base would have said and the model no longer does (the one that
    Shenfeld et al. 2025, arXiv 2509.04259, find to predict forgetting).
    """
    if base.config.vocab_size != model.config.vocab_size:
        raise wrong(
            "drift",
            "the model's vocabulary is not the base's",
            f"{model.config.vocab_size} and {base.config.vocab_size} tokens",
            "Measure drift between models of one vocabulary",
        )
    result, done = [Drifted(0.0, 0, 0)] * len(rows), 0
    for indices in batches([len(row.input_ids) for row in rows], base.config.vocab_size, batch_size):
        for index, drifted in zip(indices, _batch(base, model, [rows[i] for i in indices]), strict=True):
            result[index] = drifted
        done += len(indices)
        tick(done, len(rows))
    return result


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
