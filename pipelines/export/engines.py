"""The export in the engines that were asked for: each must read it, and say what transformers says."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pipelines.errors import UserError, wrong
from pipelines.serving.environments import Environment, require
from pipelines.serving.findings import Check
from pipelines.serving.look import transformers4
from pipelines.serving.look.fresh import Reloaded
from pipelines.serving.look.live import Live
from pipelines.serving.look.parity import compare, logprobs
from pipelines.serving.vllm.ask import prompt_logprobs, round_trip
from pipelines.serving.vllm.flags import flags
from pipelines.serving.vllm.parity import largest, require_same
from pipelines.serving.vllm.server import NAME, Session, session

_WHERE = "export.engines"
_ROOM = 512
"""Tokens beside the longest prompt, for the answers of a round trip."""


class Seen(NamedTuple):
    """What an engine was told, its versions, and the checks that held in it."""

    versions: Mapping[str, str]
    checks: Sequence[Check]
    arguments: Sequence[str] = ()


class ByName(NamedTuple):
    """An adapter to ask for by its name: its folder, the model it is served on, and what both say in transformers."""

    name: str
    folder: Path
    parent: Path
    live: Live


def in_transformers4(folder: Path, before: Reloaded) -> Seen:
    """The folder as transformers 4 reads it. UserError with everything that it reads differently."""
    environment = require("transformers4", _WHERE)
    after = transformers4.in_transformers4(environment, folder, before.facts["prompts"])
    if found := transformers4.disagreements(before, after, folder.name):
        raise UserError(*found)
    apart = compare(before.logits, after.logits).largest
    version = environment.versions["transformers"]
    return Seen({"transformers4": version}, [Check(f"max |dlogit| in transformers {version}", apart)])


def in_vllm(folder: Path, dtype: str, positions: int | None, before: Reloaded, adapter: ByName | None) -> Seen:
    """The folder, and the adapter on its base, as vLLM serves them over HTTP."""
    environment, prompts = require("vllm", _WHERE), before.facts["prompts"]
    room = max(map(len, prompts)) + _ROOM
    arguments = flags(environment, dtype, len(prompts), min(room, positions or room))
    with session(environment) as live:
        checks = _served(live, environment, folder, dtype, arguments, before)
        if adapter:
            checks += _served_by_name(live, environment, adapter, dtype, arguments, prompts)
    versions = {name: value for name, value in environment.versions.items() if name.startswith("vllm")}
    return Seen(versions, checks, arguments)


def _served(
    live: Session, environment: Environment, folder: Path, dtype: str, arguments: Sequence[str], before: Reloaded
) -> list[Check]:
    prompts = before.facts["prompts"]
    ours = [logprobs(row, prompt) for row, prompt in zip(before.logits, prompts, strict=True)]
    with live.serve(folder, arguments, where=folder.name) as client:
        apart = require_same(ours, prompt_logprobs(client, NAME, prompts), dtype, folder.name)
        used = round_trip(environment, client, NAME)
    steps = ["models", "completions", *(["chat"] if used["chat"][NAME] else [])]
    return [
        Check("max |dlogprob| in vLLM, in nats", apart),
        Check("used in vLLM with the OpenAI client", f"{', '.join(steps)}, {len(used['metrics'])} metrics"),
    ]


def _served_by_name(
    live: Session,
    environment: Environment,
    adapter: ByName,
    dtype: str,
    arguments: Sequence[str],
    prompts: list[list[int]],
) -> list[Check]:
    ours = [logprobs(row, prompt) for row, prompt in zip(adapter.live.adapted, prompts, strict=True)]
    with live.serve(adapter.parent, arguments, {adapter.name: adapter.folder}, where=adapter.folder.name) as client:
        theirs, alone = (prompt_logprobs(client, name, prompts) for name in (adapter.name, NAME))
        round_trip(environment, client, NAME, [adapter.name])
    if largest(alone, theirs) == 0.0:
        fix = "Merge it: its names do not fit vLLM's"
        raise wrong("export.adapter", "vLLM serves it without a word, and answers as the base does", "", fix)
    apart = require_same(ours, theirs, dtype, adapter.folder.name)
    return [Check("max |dlogprob| of the adapter by its name in vLLM, in nats", apart)]
