"""The proof of a folder by serving it: one vLLM server, asked as an application would, compared with transformers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.errors import wrong
from pipelines.hf.folder import CONFIG, positions, read_json
from pipelines.serving.environments import Environment
from pipelines.serving.vllm.ask import prompt_logprobs, round_trip
from pipelines.serving.vllm.flags import flags
from pipelines.serving.vllm.parity import largest, require_same
from pipelines.serving.vllm.server import NAME, Session

LogProbs = Sequence[Sequence[float]]
_ROWS, _CONTEXT = 8, 2048
_EXACT = "float32"


class Adapter(NamedTuple):
    """An adapter to be served beside the model, and what transformers with PEFT says of the prompts."""

    folder: Path
    expected: LogProbs


class Proof(NamedTuple):
    """What vLLM did with a folder.

    `arguments` it was served with; `apart`: the largest difference to what was expected, in nats, by model and adapter;
    `exact`: that of the same weights where both engines compute in float32, None where that was not asked;
    `tokens` compared; `ended`: how the answer to a chat ended, None without a template; `metrics` that it tells.
    """

    arguments: tuple[str, ...]
    apart: dict[str, float]
    exact: float | None
    tokens: int
    ended: str | None
    metrics: int


def prove(
    live: Session,
    environment: Environment,
    folder: Path,
    dtype: str,
    prompts: Sequence[Sequence[int]],
    expected: LogProbs | None,
    adapters: Mapping[str, Adapter] | None = None,
    scale: float = 0.0,
    exact: LogProbs | None = None,
) -> Proof:
    """Serve `folder` with its adapters, compare log-probabilities of `prompts`, and use it once with the OpenAI client.

    `expected` is None where no other engine loads the weights; then they need only be numbers. `scale` is the largest
    logit. With `exact`, what transformers says in float32, the folder is served in float32 first, where nothing hides
    behind rounding. UserError where vLLM refuses the folder, where a difference is above its limit, or where a request
    fails.
    """
    beside, where, context = dict(adapters or {}), folder.name, _context(folder, prompts)
    true = None if exact is None else _exact(live, folder, flags(environment, _EXACT, _ROWS, context), prompts, exact)
    arguments = flags(environment, dtype, _ROWS, context)
    with live.serve(folder, arguments, {name: one.folder for name, one in beside.items()}, where=where) as client:
        said = prompt_logprobs(client, NAME, prompts)
        apart = {} if expected is None else {NAME: require_same(expected, said, dtype, where, scale)}
        for name, one in beside.items():
            with_adapter = prompt_logprobs(client, name, prompts)
            if largest(said, with_adapter) == 0.0:
                fix = "Check the names of its tensors: burnish verify ADAPTER --base MODEL"
                raise wrong(one.folder.name, "vLLM serves the adapter as the base itself", "", fix)
            apart[name] = require_same(one.expected, with_adapter, dtype, one.folder.name, scale)
        trip = round_trip(environment, client, NAME, list(beside))
    return Proof(tuple(arguments), apart, true, sum(map(len, said)), _ended(trip), len(trip["metrics"]))


def _exact(
    live: Session, folder: Path, arguments: Sequence[str], prompts: Sequence[Sequence[int]], exact: LogProbs
) -> float:
    with live.serve(folder, arguments, {}, where=folder.name) as client:
        return require_same(exact, prompt_logprobs(client, NAME, prompts), _EXACT, folder.name)


def _context(folder: Path, prompts: Sequence[Sequence[int]]) -> int:
    """Room for the prompts and for short answers, in tokens, as far as the model has it."""
    room = max(_CONTEXT, max(map(len, prompts)) + 1)
    return min(positions(read_json(folder / CONFIG)) or room, room)


def _ended(trip: Mapping[str, Any]) -> str | None:
    chat = trip["chat"][NAME]
    return None if chat is None else str(chat["finish_reason"])
