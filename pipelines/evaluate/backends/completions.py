"""What /completions gives for token ids: log-probabilities of a prompt's tokens, and what follows it.

Prompts travel as token ids, so that a server adds no BOS and splits no text its own way. That it did neither is
checked on every answer, as far as the server tells.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from pipelines.errors import wrong
from pipelines.evaluate.score import not_finite
from pipelines.serving.vllm.client import Client, Reply, call, failure, told

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
_NAN = "not JSON compliant"
"""How servers in Python put it that a log-probability is NaN. Asked for text alone, they answer nonsense."""
_NO_NUMBER = "the model served gives log-probabilities that are no numbers"
_OTHER = "Use another server, or the backend hf"


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
    """An answer: its token ids where the server tells them, else None, and its text as the server decoded it.

    `finite` is False where a log-probability of it was NaN, as far as the server tells.
    """

    tokens: list[int] | None
    text: str
    cut: bool
    finite: bool


def find_out(client: Client, model: str, words: PreTrainedTokenizerBase) -> Endpoint:
    """What the server can do, from one short request.

    UserError where it takes no token ids, or takes others; NotFinite where the weights that it serves are broken.
    """
    tokens = words.encode(_PROBE, add_special_tokens=False)
    plain = {"model": model, "prompt": tokens, "max_tokens": 1, "temperature": 0}
    for extras in (_ECHO | _NAMED, _ECHO, {}):
        reply = call(client, "POST", _PATH, plain | extras)
        if reply.status not in (400, 422) or _tells_nan(client, reply):
            break
    if _tells_nan(client, reply):
        raise not_finite("backend", _NO_NUMBER, told(client, reply.body))
    if reply.status in (400, 422):
        fix = "Use a server that does, such as vLLM, or the backend hf"
        raise wrong("backend.url", "the server takes no token ids as a prompt", told(client, reply.body), fix)
    choice = _choice(client, reply)
    _check_prompt(reply.body, choice, tokens, words)
    logprobs = choice.get("logprobs") or {}
    named = str((logprobs.get("tokens") or [""])[0]).startswith(_ID)
    endpoint = Endpoint(client, model, named, _scores_prompts(logprobs, len(tokens)))
    if endpoint.scores_prompts and math.isnan(score(endpoint, tokens, len(tokens) - 1)[0]):
        raise not_finite("backend", _NO_NUMBER, "nan")
    return endpoint


def _check_prompt(
    body: dict[str, Any], choice: dict[str, Any], tokens: Sequence[int], words: PreTrainedTokenizerBase
) -> None:
    count = (body.get("usage") or {}).get("prompt_tokens", len(tokens))
    if count != len(tokens):
        fix = "Start the server such that it adds no tokens of its own to a prompt of token ids"
        raise wrong("backend.url", "the server changes the prompt", f"{count} tokens for {len(tokens)}", fix)
    text, sent = choice.get("text") or "", words.decode(tokens).strip()
    listed = (choice.get("logprobs") or {}).get("tokens") or []
    if len(listed) >= len(tokens) and sent not in text:
        fix = "Check that the server serves this model, with the tokenizer of its folder"
        raise wrong("backend.models", "the server's tokenizer is not the model's", f"{text!r} for {sent!r}", fix)


def _scores_prompts(logprobs: dict[str, Any], count: int) -> bool:
    """Whether every token of the prompt but the first has the likeliest token in its place told beside it."""
    top = logprobs.get("top_logprobs") or []
    return len(logprobs.get("token_logprobs") or []) == len(top) == count + 1 and all(top[1:count])


def score(endpoint: Endpoint, tokens: Sequence[int], scored: int) -> tuple[float, bool]:
    """Log-probability in nats of the last `scored` of `tokens` given those before, and whether all are the likeliest.

    Position i of the echoed log-probabilities is log p(token i | tokens before i); the last one belongs to a token
    that was generated, because not every server takes max_tokens 0, and is dropped. NaN where one of them is none.
    """
    body = {"model": endpoint.model, "prompt": list(tokens), "max_tokens": 1, "temperature": 0, **_ECHO}
    reply = call(endpoint.client, "POST", _PATH, body | (_NAMED if endpoint.names_ids else {}))
    if _tells_nan(endpoint.client, reply):
        return math.nan, False
    logprobs = _choice(endpoint.client, reply).get("logprobs") or {}
    listed, every = logprobs.get("tokens") or [], logprobs.get("token_logprobs") or []
    top, first = logprobs.get("top_logprobs") or [], len(tokens) - scored
    if not len(listed) == len(every) == len(top) == len(tokens) + 1 or first < 1:
        got = f"{len(every)} for {len(tokens)} tokens"
        raise wrong("backend.url", "the server gives too few or too many log-probabilities", got, _OTHER)
    if endpoint.names_ids and listed[:-1] != [f"{_ID}{token}" for token in tokens]:
        raise wrong("backend.url", "the server scored other tokens than it was sent", fix=_OTHER)
    values = every[first:-1]
    if not _are_finite(values):
        return math.nan, False
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
        **({"logprobs": 1} if endpoint.scores_prompts else {}),
    }
    reply = call(endpoint.client, "POST", _PATH, body)
    if _tells_nan(endpoint.client, reply):
        return Written(None, "", cut=False, finite=False)
    choice = _choice(endpoint.client, reply)
    finite = _are_finite((choice.get("logprobs") or {}).get("token_logprobs") or [])
    return Written(choice.get("token_ids"), choice.get("text") or "", choice.get("finish_reason") == "length", finite)


def _choice(client: Client, reply: Reply) -> dict[str, Any]:
    """The one choice of an answer."""
    if reply.status != 200:
        raise failure(client, _PATH, reply)
    choices = reply.body.get("choices") if isinstance(reply.body, dict) else None
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        raise wrong("backend.url", f"{_PATH} answers without the choice asked for", told(client, reply.body), _OTHER)
    return choices[0]


def _tells_nan(client: Client, reply: Reply) -> bool:
    return reply.status != 200 and _NAN in told(client, reply.body)


def _are_finite(values: Sequence[Any]) -> bool:
    return all(isinstance(value, (int, float)) and math.isfinite(value) for value in values)
