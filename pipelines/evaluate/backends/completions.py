"""What /completions gives for token ids: log-probabilities of a prompt's tokens, and what follows it.

Prompts travel as token ids, so that a server adds no BOS and splits no text its own way. That it did neither is
checked on every answer, as far as the server tells.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from pipelines.errors import wrong
from pipelines.evaluate.backends.client import Client, ask, call, failure, told

_PATH = "/completions"
_PROBE = "The capital of France is Paris."
_ECHO = {"echo": True, "logprobs": 1}
_NAMED = {"return_tokens_as_token_ids": True}
"""What vLLM takes beyond OpenAI's protocol: tokens named by their ids, for two of them may have one text."""
_IDS = {"return_token_ids": True}
"""Likewise: the ids of an answer, so that it is decoded here. Echoed text would be left out with it."""
_STOPS = 4
"""Most stop strings of OpenAI's protocol. More are cut off here, at the cost of tokens that were made in vain."""
_ID = "token_id:"


class Endpoint(NamedTuple):
    """A model behind a server, and what the server can do: name tokens by their ids, and score those of a prompt."""

    client: Client
    model: str
    names_ids: bool
    scores_prompts: bool


class Settings(NamedTuple):
    """How an answer is generated; `sampling` has parameters of the protocol such as temperature."""

    max_tokens: int
    stop: tuple[str, ...]
    seed: int
    sampling: Mapping[str, float]


class Written(NamedTuple):
    """An answer: its token ids where the server tells them, else None, and its text as the server decoded it."""

    tokens: list[int] | None
    text: str
    cut: bool


def find_out(client: Client, model: str, words: PreTrainedTokenizerBase) -> Endpoint:
    """What the server can do, from one short request. UserError where it takes no token ids, or takes others."""
    tokens = words.encode(_PROBE, add_special_tokens=False)
    plain = {"model": model, "prompt": tokens, "max_tokens": 1, "temperature": 0}
    tries: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = ((_NAMED, _ECHO), ({}, _ECHO), ({}, {}))
    for extras, echo in tries:
        reply = call(client, "POST", _PATH, {**plain, **echo, **extras})
        if reply.status not in (400, 422):
            break
    if reply.status in (400, 422):
        fix = "Use a server that does, such as vLLM, or the backend hf"
        raise wrong("backend.url", "the server takes no token ids as a prompt", told(client, reply.body), fix)
    if reply.status != 200:
        raise failure(client, _PATH, reply)
    _check_prompt(reply.body, tokens, words)
    endpoint = Endpoint(client, model, _names_ids(reply.body), bool(echo) and _scores_prompts(reply.body, len(tokens)))
    if endpoint.scores_prompts:
        score(endpoint, tokens, len(tokens) - 1)
    return endpoint


def _check_prompt(body: dict[str, Any], tokens: Sequence[int], words: PreTrainedTokenizerBase) -> None:
    count = (body.get("usage") or {}).get("prompt_tokens", len(tokens))
    if count != len(tokens):
        fix = "Start the server such that it adds no tokens of its own to a prompt of token ids"
        raise wrong("backend.url", "the server changes the prompt", f"{count} tokens for {len(tokens)}", fix)
    text, sent = _choice(body).get("text") or "", words.decode(tokens).strip()
    listed = (_choice(body).get("logprobs") or {}).get("tokens") or []
    if len(listed) >= len(tokens) and sent not in text:
        fix = "Check that the server serves this model, with the tokenizer of its folder"
        raise wrong("backend.models", "the server's tokenizer is not the model's", f"{text!r} for {sent!r}", fix)


def _choice(body: dict[str, Any]) -> dict[str, Any]:
    choices = body.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        raise wrong("backend.url", f"{_PATH} answers without the one choice that was asked for", str(body)[:200])
    return choices[0]


def _names_ids(body: dict[str, Any]) -> bool:
    listed = (_choice(body).get("logprobs") or {}).get("tokens") or [""]
    return str(listed[0]).startswith(_ID)


def _scores_prompts(body: dict[str, Any], count: int) -> bool:
    """Whether all tokens of the prompt but the first have a log-probability, and the likeliest token beside it."""
    logprobs = _choice(body).get("logprobs") or {}
    every, top = logprobs.get("token_logprobs") or [], logprobs.get("top_logprobs") or []
    return len(every) == len(top) == count + 1 and None not in every[1:count] and all(top[1:count])


def score(endpoint: Endpoint, tokens: Sequence[int], scored: int) -> tuple[float, bool]:
    """Log-probability in nats of the last `scored` of `tokens` given those before, and whether all are the likeliest.

    Position i of the echoed log-probabilities is log p(token i | tokens before i); the last one belongs to a token
    that was generated, because not every server takes max_tokens 0, and is dropped.
    """
    body = {"model": endpoint.model, "prompt": list(tokens), "max_tokens": 1, "temperature": 0, **_ECHO}
    choice = _choice(ask(endpoint.client, "POST", _PATH, {**body, **(_NAMED if endpoint.names_ids else {})}))
    logprobs = choice.get("logprobs") or {}
    listed, every = logprobs.get("tokens") or [], logprobs.get("token_logprobs") or []
    top, first = logprobs.get("top_logprobs") or [], len(tokens) - scored
    if not len(listed) == len(every) == len(top) == len(tokens) + 1 or first < 1:
        got = f"{len(every)} for {len(tokens)}"
        raise wrong("backend.url", "the server gives too few or too many log-probabilities", got, "Use another backend")
    if endpoint.names_ids and listed[:-1] != [f"{_ID}{token}" for token in tokens]:
        raise wrong("backend.url", "the server scored other tokens than it was sent", fix="Use another backend")
    values = every[first:-1]
    if not all(isinstance(value, (int, float)) and math.isfinite(value) for value in values):
        fix = "Look for NaN in the model's weights, and at the loss it was trained with"
        bad = next(value for value in values if not isinstance(value, (int, float)) or not math.isfinite(value))
        raise wrong("backend", "the server gives a log-probability that is no finite number", str(bad), fix)
    likeliest = (max(best.values()) for best in top[first:-1])
    return math.fsum(values), all(value >= best for value, best in zip(values, likeliest, strict=True))


def generate(endpoint: Endpoint, tokens: Sequence[int], settings: Settings) -> Written:
    """What the model writes after `tokens`, until a stop string, its own end or `max_tokens`."""
    body = {
        "model": endpoint.model,
        "prompt": list(tokens),
        "max_tokens": settings.max_tokens,
        "seed": settings.seed,
        **({"stop": list(settings.stop[:_STOPS])} if settings.stop else {}),
        **settings.sampling,
        **(_IDS if endpoint.names_ids else {}),
    }
    choice = _choice(ask(endpoint.client, "POST", _PATH, body))
    return Written(choice.get("token_ids"), choice.get("text") or "", choice.get("finish_reason") == "length")
