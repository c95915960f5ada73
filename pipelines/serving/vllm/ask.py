"""What is asked of a model behind a vLLM server: log-probabilities of prompts, a whole round trip, speed, memory."""

import json
import math
import os
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.errors import UserError, wrong
from pipelines.serving.environments import Environment
from pipelines.serving.vllm.client import Client, Reply, ask, call, failure, told
from pipelines.serving.vllm.server import Session

_SCRIPT = Path(__file__).parents[1] / "outside" / "round_trip.py"
_PATH = "/completions"
_NAN = "not JSON compliant"
"""How the server puts it that a log-probability is NaN. Asked for text alone, it answers nonsense."""
_SPEED_ROWS, _SPEED_TOKENS = 4, 32
_UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_WEIGHTS = r"Model loading took ([\d.]+) ([KMGT]iB)"
_KEPT_ON_CPU = r"\[cpu_worker.* \(([\d.]+)/[\d.]+\) GiB for KV cache"


def prompt_logprobs(client: Client, name: str, prompts: Sequence[Sequence[int]]) -> list[list[float]]:
    """Natural log of the probability of each token of each prompt given those before it; its first token left out.

    UserError where one is NaN or infinite: the weights served are broken, or were never loaded.
    """
    return [_prompt(client, name, prompt) for prompt in prompts]


def _prompt(client: Client, name: str, tokens: Sequence[int]) -> list[float]:
    body = {"model": name, "prompt": list(tokens), "max_tokens": 1, "temperature": 0, "prompt_logprobs": 0}
    reply = call(client, "POST", _PATH, body)
    if reply.status != 200 and _NAN in told(client, reply.body):
        raise _no_number(client, name, "nan")
    entries = _choice(client, reply).get("prompt_logprobs") or []
    values = [(entry or {}).get(str(token)) for token, entry in zip(tokens, entries, strict=False)][1:]
    if len(entries) != len(tokens) or None in values:
        raise wrong(client.where, "vLLM scored other tokens than it was sent", f"{len(entries)} for {len(tokens)}")
    found = [value["logprob"] for value in values if value]
    for value in found:
        if value is None or not math.isfinite(value):
            raise _no_number(client, name, str(value))
    return [float(value) for value in found]


def _choice(client: Client, reply: Reply) -> dict[str, Any]:
    if reply.status != 200:
        raise failure(client, _PATH, reply)
    choices: list[dict[str, Any]] = reply.body["choices"]
    return choices[0]


def _no_number(client: Client, name: str, got: str) -> UserError:
    fix = "Look for NaN and for missing weights in the folder: burnish verify names them"
    return wrong(client.where, f"{name} as vLLM serves it gives log-probabilities that are no numbers", got, fix)


def speed(client: Client, name: str, prompt: Sequence[int] = (1, 2, 3, 4), rows: int = _SPEED_ROWS) -> float:
    """Generated tokens a second of `rows` prompts at once, 32 tokens each, measured once warm."""
    body = {"model": name, "max_tokens": _SPEED_TOKENS, "temperature": 0, "ignore_eos": True}
    ask(client, "POST", _PATH, body | {"prompt": list(prompt), "max_tokens": 2})
    started = time.monotonic()
    reply = ask(client, "POST", _PATH, body | {"prompt": [list(prompt)] * rows})
    return float(reply["usage"]["completion_tokens"]) / (time.monotonic() - started)


def weights_bytes(said: str) -> int | None:
    """Memory of the weights as the log of a server tells it, which it does on a GPU; None elsewhere."""
    found = re.findall(_WEIGHTS, said)
    return int(sum(float(number) * _UNITS[unit] for number, unit in found)) if found else None


def memory(live: Session, client: Client) -> int | None:
    """Bytes that serving takes beside the room for keys and values; None where neither vLLM nor the system says.

    On a GPU the weights as vLLM counts them. On a CPU, where it does not, what its worker has for itself: about 0.4 GB
    more than the weights as the kernels keep them, the same for every folder.
    """
    said = live.said(client)
    kept = re.search(_KEPT_ON_CPU, said)
    if kept is None:
        return weights_bytes(said)
    return max(0, live.private_bytes(client) - int(float(kept[1]) * _UNITS["GiB"])) or None


def round_trip(environment: Environment, client: Client, name: str, adapters: Sequence[str] = ()) -> dict[str, Any]:
    """One use of the server with the OpenAI client of vLLM's own environment: models, chat, completions, metrics.

    What it gives: `models` (names), and by name `chat` and `completion` (`{"text", "finish_reason", "tokens"}`; chat
    null where there is no template), `metrics` (names of vLLM's own). UserError in one line where a step fails.
    """
    asked = {"url": client.url, "names": [name, *adapters]}
    run = subprocess.run(
        [environment.python, "-I", _SCRIPT],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        env=_with_key(os.environ, client),
        check=False,
    )
    if run.returncode:
        last = (run.stderr.strip().splitlines() or [f"exit status {run.returncode}"])[-1]
        raise wrong(client.where, "the OpenAI client fails with vLLM's server", told(client, last))
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def _with_key(environment: Mapping[str, str], client: Client) -> dict[str, str]:
    """No proxy, so that requests to this machine stay on it."""
    kept = {name: value for name, value in environment.items() if not name.lower().endswith("_proxy")}
    return kept | {"OPENAI_API_KEY": client.key}
