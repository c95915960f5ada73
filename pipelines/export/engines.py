"""The export in the engines that were asked for: each must read it, and say what transformers says."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pipelines.errors import UserError
from pipelines.serving.environments import Environment, require
from pipelines.serving.findings import Check
from pipelines.serving.look import transformers4
from pipelines.serving.look.fresh import Reloaded
from pipelines.serving.look.live import Live
from pipelines.serving.look.parity import all_logprobs, compare, exact_logprobs, scale
from pipelines.serving.vllm.flags import is_on_cpu
from pipelines.serving.vllm.proof import Adapter, prove
from pipelines.serving.vllm.server import NAME, Session, session

_WHERE = "export.engines"


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


def in_vllm(folder: Path, dtype: str, before: Reloaded, adapter: ByName | None) -> Seen:
    """The folder, and the adapter on its base, as vLLM serves them over HTTP."""
    environment, prompts = require("vllm", _WHERE), before.facts["prompts"]
    expected, size = all_logprobs(before.logits, prompts), scale(before.logits)
    exact = exact_logprobs(folder, prompts) if dtype != "float32" and is_on_cpu(environment) else None
    with session(environment) as live:
        proof = prove(live, environment, folder, dtype, prompts, expected, None, size, exact)
        beside = _by_name(live, environment, adapter, dtype, prompts) if adapter else []
    steps = ", ".join(["models", "completions", *(["chat"] if proof.ended else [])])
    checks = [
        Check("max |dlogprob| in vLLM, in nats", proof.apart[NAME]),
        *([Check("the same where both compute in float32", proof.exact)] if proof.exact is not None else []),
        Check("used in vLLM with the OpenAI client", f"{steps}, {proof.metrics} metrics"),
        *beside,
    ]
    versions = {name: value for name, value in environment.versions.items() if name.startswith("vllm")}
    return Seen(versions, checks, proof.arguments)


def _by_name(
    live: Session, environment: Environment, adapter: ByName, dtype: str, prompts: list[list[int]]
) -> list[Check]:
    alone, adapted = (all_logprobs(logits, prompts) for logits in adapter.live)
    beside = {adapter.name: Adapter(adapter.folder, adapted)}
    proof = prove(live, environment, adapter.parent, dtype, prompts, alone, beside, scale(adapter.live.adapted))
    return [Check("max |dlogprob| of the adapter by its name in vLLM, in nats", proof.apart[adapter.name])]
