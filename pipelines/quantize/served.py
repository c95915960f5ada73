"""A quantised folder in real vLLM: the same log-probabilities, a round trip, speed and memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pipelines.errors import wrong
from pipelines.quantize.made import Check
from pipelines.serving.environments import Environment
from pipelines.serving.vllm.ask import prompt_logprobs, round_trip, speed, weights_bytes
from pipelines.serving.vllm.flags import flags
from pipelines.serving.vllm.server import NAME, session

APART = 0.05
"""Mean nats. Kernels round the inputs of 8-bit weights each in their own order; see docs/serving.md for what was seen.
A scale that is read wrongly costs several nats."""
_WHERE = "formats"
_ROWS, _ANSWER = 4, 64


class Served(NamedTuple):
    """What was seen; `memory_bytes` of the weights is None where vLLM does not tell it, as on a CPU."""

    checks: list[Check]
    tokens_per_second: float | None
    memory_bytes: int | None


NOT = Served([], None, None)
"""A folder that was not served."""


def serve(
    environment: Environment, folder: Path, dtype: str, prompts: Sequence[Sequence[int]], ours: Sequence[list[float]]
) -> Served:
    """Serve the folder. `ours` are the log-probabilities of the prompts' tokens, the first left out, by transformers.

    UserError where vLLM does not serve it, or serves another model.
    """
    context = max(map(len, prompts)) + _ANSWER
    arguments = flags(environment, dtype, _ROWS, context)
    with session(environment) as live, live.serve(folder, arguments, where=_WHERE) as client:
        apart = require_near(ours, prompt_logprobs(client, NAME, prompts))
        round_trip(environment, client, NAME)
        rate = speed(client, NAME, prompts[0], _ROWS)
        checks = [
            Check("mean |dlogprob| of vLLM and transformers, both quantised", apart),
            Check("chat, completion and metrics of vLLM's server", "answered"),
        ]
        return Served(checks, rate, weights_bytes(live.said(client)))


def require_near(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> float:
    """The mean absolute difference in nats. UserError where it is above APART: vLLM serves another model."""
    pairs = [pair for mine, yours in zip(ours, theirs, strict=True) for pair in zip(mine, yours, strict=True)]
    found = sum(abs(one - other) for one, other in pairs) / len(pairs)
    if not found <= APART:
        got = f"{found:.2g} nats apart in the mean, where {APART:g} is allowed"
        fix = "Take another level, or another version of vLLM: it reads these scales differently"
        raise wrong(_WHERE, "vLLM serves other log-probabilities than its files hold", got, fix)
    return found
