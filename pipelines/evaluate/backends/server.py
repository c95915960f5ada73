"""The backend `server`: a model behind any OpenAI-compatible server, looked at before anything is measured."""

import difflib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lm_eval.models.utils import resolve_max_length
from transformers import AutoConfig, PreTrainedTokenizerBase

from pipelines.engine.stage import Artifact
from pipelines.errors import few, wrong
from pipelines.evaluate.backends.completions import find_out, score
from pipelines.evaluate.backends.lm import ServedLM
from pipelines.evaluate.config import EvaluateConfig, Server
from pipelines.evaluate.score import text_hash
from pipelines.evaluate.subject import Subject, Tick
from pipelines.evaluate.texts import first_token, windows
from pipelines.hf.models import load_tokenizer
from pipelines.serving.vllm.client import Client, ask, call, connect

SPARE = 2
"""To score n tokens of input, the token after them is sent too, and one more must have room to be generated."""
_UNTOLD = "as served"


@contextmanager
def open_server(config: EvaluateConfig, model: Artifact) -> Iterator[Subject]:
    """The model as the server of `config.backend` serves it. UserError where it cannot be measured there.

    Of a recipe's evaluation, `models` holds this one model only, by the name that the recipe has for it.
    """
    backend = config.backend
    assert isinstance(backend, Server)
    client = connect(backend.url, backend.api_key, os.environ.get(backend.api_key, ""), backend.concurrency)
    known, name = next(iter(backend.models.items()), (model.name, model.name))
    entry = listed(client, name, known)
    software = f"{entry.get('owned_by') or 'unknown'} {_version(client) or ''}".strip()
    facts = {"backend": backend.kind, "server": software, "dtype": _UNTOLD, "device": _UNTOLD}
    note = f"{known} was measured as {name} of a server: that these are its weights is the server's word"
    found = subject(client, name, model.path, config.max_length, entry, backend.concurrency, facts, (note,))
    if config.suite.texts:
        found.lm.require_scores()
    yield found


def subject(
    client: Client,
    name: str,
    folder: Path,
    asked: int | None,
    entry: dict[str, Any],
    concurrency: int,
    facts: dict[str, str],
    notes: tuple[str, ...] = (),
) -> Subject:
    """The model called `name` there, with the tokenizer and the template of its folder.

    `asked` is the longest prompt wanted, in tokens; `entry` is what the server lists of the model.
    """
    words = load_tokenizer(folder)
    digest = text_hash(words.backend_tokenizer.to_str())
    length = _max_length(folder, words, asked, entry.get("max_model_len"))
    lm = ServedLM(find_out(client, name, words), words, length, concurrency)
    return Subject(
        lm=lm,
        generated=lambda: lm.generated,
        nlls=lambda documents, longest, tick: nlls(lm, documents, longest, tick),
        count=lambda text: len(lm.tok_encode(text)),
        template=words.chat_template,
        max_length=length,
        max_gen_toks=lm.max_gen_toks,
        facts=facts | {"tokenizer": digest},
        words=words,
        notes=notes,
    )


def nlls(lm: ServedLM, documents: Sequence[str], max_length: int, tick: Tick) -> list[float]:
    """Negative log-likelihood of each document in nats, in the windows of the hf backend."""
    lm.require_scores()
    prefix, longest = first_token(lm.tokenizer), min(max_length, lm.max_length)
    encoded = lm.tokenizer(list(documents), add_special_tokens=False)["input_ids"]
    every = [window for index, tokens in enumerate(encoded) for window in windows(index, tokens, prefix, longest)]
    rows = [([*window.inputs, window.targets[-1]], len(window.targets)) for window in every]
    found = lm.each(lambda row: score(lm.endpoint, *row)[0], rows, tick)
    sums = [0.0] * len(documents)
    for window, value in zip(every, found, strict=True):
        sums[window.document] -= value
    return sums


def listed(client: Client, name: str, model: str) -> dict[str, Any]:
    """What the server lists of the model called `name`. UserError, with the names there, where it serves none."""
    entries = ask(client, "GET", "/models").get("data")
    known = {str(entry.get("id")): entry for entry in entries or [] if isinstance(entry, dict)}
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1) or (list(known) if len(known) == 1 else [])
        hint = f"Did you mean models: {{{model}: {close[0]}}}?" if close else f"It serves: {few(sorted(known))}"
        raise wrong("backend.models", f"the server has no model of this name for {model}", name, hint)
    return known[name]


def _max_length(folder: Path, words: PreTrainedTokenizerBase, asked: int | None, context: int | None) -> int:
    """The hf backend's length where the server takes that much."""
    own = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    length = int(asked or resolve_max_length(own, words))
    return length if context is None else min(length, context - SPARE)


def _version(client: Client) -> str | None:
    """The version that vLLM and others tell beside the protocol; None where a server does not."""
    reply = call(client._replace(url=client.url.removesuffix("/v1")), "GET", "/version")
    version = reply.body.get("version") if reply.status == 200 and isinstance(reply.body, dict) else None
    return None if version is None else str(version)
