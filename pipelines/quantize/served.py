"""A quantised folder in real vLLM: the same predictions, a round trip, speed and memory."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from pipelines.errors import wrong
from pipelines.serving.environments import Environment
from pipelines.serving.findings import Check
from pipelines.serving.vllm.ask import memory, round_trip, speed
from pipelines.serving.vllm.client import Client, ask
from pipelines.serving.vllm.flags import flags
from pipelines.serving.vllm.server import NAME, session

LIKELIEST = 20
"""Tokens that vLLM names at each place; its default limit."""
FLOOR, TIMES = 0.01, 2.0
"""Nats. Rounded inputs fall on one side or the other by the last bit of a sum, so that two engines are two draws of the
rounding of one model: each as far from the other as two levels are that each are as far from the export."""
_WHERE = "formats"
_ROWS, _ANSWER = 4, 64


class Served(NamedTuple):
    """What was seen; `memory_bytes` is what serving takes beside keys and values, None where nothing tells it."""

    checks: list[Check]
    tokens_per_second: float | None
    memory_bytes: int | None


NOT = Served([], None, None)
"""A folder that was not served."""


def serve(
    environment: Environment,
    folder: Path,
    dtype: str,
    prompts: Sequence[Sequence[int]],
    logits: Sequence[torch.Tensor],
    kl: float,
) -> Served:
    """Serve the folder. `logits` are its own on the prompts by transformers, `kl` how far those are from the export's.

    UserError where vLLM does not serve it, or serves another model.
    """
    arguments = flags(environment, dtype, _ROWS, max(map(len, prompts)) + _ANSWER)
    with session(environment) as live, live.serve(folder, arguments, where=_WHERE) as client:
        apart = require_near(logits, [likeliest(client, prompt) for prompt in prompts], kl)
        round_trip(environment, client, NAME)
        checks = [
            Check(f"KL in nats a token of vLLM from transformers, over its {LIKELIEST} likeliest tokens", apart),
            Check("chat, completion and metrics of vLLM's server", "answered"),
        ]
        return Served(checks, speed(client, NAME, prompts[0], _ROWS), memory(live, client))


def likeliest(client: Client, prompt: Sequence[int]) -> list[dict[int, float]]:
    """Natural log of the probability by token, of the likeliest ones after each prefix of the prompt but the whole."""
    body = {"model": NAME, "prompt": list(prompt), "max_tokens": 1, "temperature": 0, "prompt_logprobs": LIKELIEST}
    told: list[Mapping[str, Any] | None] = ask(client, "POST", "/completions", body)["choices"][0]["prompt_logprobs"]
    return [{int(token): entry["logprob"] for token, entry in place.items()} for place in told[1:] if place]


def require_near(logits: Sequence[torch.Tensor], said: Sequence[Sequence[Mapping[int, float]]], kl: float) -> float:
    """Mean KL(logits || said) in nats, all tokens that were not said taken as one. UserError where it is too large.

    Taking tokens together makes a KL smaller, never larger (the data processing inequality).
    """
    found = [
        _coarse(row, place)
        for rows, places in zip(logits, said, strict=True)
        for row, place in zip(rows, places, strict=False)
    ]
    mean, limit = sum(found) / len(found), FLOOR + TIMES * kl
    if not mean <= limit:
        got = f"KL {mean:.2g} nats a token, where {limit:.2g} is allowed"
        fix = "Take another level, or another version of vLLM: it reads this one differently"
        raise wrong(_WHERE, "vLLM serves another model than transformers reads from the same files", got, fix)
    return mean


def _coarse(row: torch.Tensor, place: Mapping[int, float]) -> float:
    """KL over the tokens of `place` and all others as one; `row` holds the logits of [vocabulary]."""
    own: list[float] = row.double().log_softmax(-1)[list(place)].tolist()
    rest, other = (max(1e-12, 1 - sum(map(math.exp, values))) for values in (own, place.values()))
    named = sum(math.exp(one) * (one - said) for one, said in zip(own, place.values(), strict=True))
    return named + rest * (math.log(rest) - math.log(other))
