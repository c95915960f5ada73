"""Batched sampling from a causal language model in which every row draws its own random numbers."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

CANDIDATES = 1024
"""Sampling looks at this many likeliest tokens; the nucleus of a usable temperature lies well within them."""


class Sampling(NamedTuple):
    """How tokens are drawn. A temperature of 0 takes the likeliest."""

    temperature: float
    top_p: float
    max_new_tokens: int


class Written(NamedTuple):
    """The tokens of one answer, without the stop token that `finished` it."""

    tokens: list[int]
    finished: bool


@torch.inference_mode()
def write(
    model: Any, prompts: Sequence[Sequence[int]], seeds: Sequence[int], stops: frozenset[int], sampling: Sampling
) -> list[Written]:
    """One answer to each prompt (lists of token ids), all in one left-padded batch with a key-value cache.

    Row b draws from a generator seeded by `seeds[b]` only, so its neighbours change nothing but float rounding.
    """
    ids, mask = _padded(prompts, model.device)
    draws = torch.stack([_draws(seed, sampling.max_new_tokens) for seed in seeds]).to(model.device)
    answers: list[list[int]] = [[] for _ in prompts]
    going = list(range(len(prompts)))
    cache = None
    for step in range(sampling.max_new_tokens):
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        out = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache = out.past_key_values
        chosen = sample(out.logits[:, -1].float(), draws[:, step], sampling)
        tokens = chosen.tolist()
        stay = [at for at, token in enumerate(tokens) if token not in stops]
        for at in stay:
            answers[going[at]].append(tokens[at])
        going = [going[at] for at in stay]
        if not going:
            break
        if len(stay) < len(tokens):
            keep = torch.tensor(stay, device=mask.device)
            cache.batch_select_indices(keep)
            mask, draws, chosen = mask[keep], draws[keep], chosen[keep]
        ids = chosen[:, None]
        mask = torch.cat([mask, mask.new_ones(len(stay), 1)], dim=1)
    cut = set(going)
    return [Written(answer, row not in cut) for row, answer in enumerate(answers)]


def sample(logits: Tensor, draws: Tensor, sampling: Sampling) -> Tensor:
    """Tokens (B,) for logits (B, V) and uniform draws (B,): nucleus sampling by inverting the cumulative distribution.

    Holtzman et al. 2020, arXiv 1904.09751: the smallest set of likeliest tokens whose mass reaches `top_p`.
    """
    if sampling.temperature == 0:
        return logits.argmax(-1)
    probs, order = (logits / sampling.temperature).softmax(-1).topk(min(CANDIDATES, logits.shape[-1]), dim=-1)
    below = probs.cumsum(-1) - probs
    probs = probs.masked_fill(below >= sampling.top_p, 0.0)
    reached = probs.cumsum(-1)
    index = (reached <= draws[:, None] * reached[:, -1:]).sum(-1, keepdim=True)
    last = (probs > 0).sum(-1, keepdim=True) - 1
    return order.gather(-1, torch.minimum(index, last)).squeeze(-1)


def _padded(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids and attention mask (B, T), padded on the left. Padding is masked, so its id does not matter."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts], device=device)
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
    return ids, mask


def _draws(seed: int, count: int) -> Tensor:
    return torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
