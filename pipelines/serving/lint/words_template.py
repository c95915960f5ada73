"""Rules on the chat template: where it stands, what it renders, where an answer ends, and how many BOS there are."""

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pipelines.errors import UserError
from pipelines.hf.chat import render
from pipelines.hf.folder import CONFIG, GENERATION, TEMPLATE, TOKENIZER_CONFIG
from pipelines.serving.findings import Finding, Severity
from pipelines.serving.lint.opened import mapping, opened
from pipelines.serving.lint.vocabulary import Words, special_ids

_SYSTEM, _FIRST, _ANSWER, _SECOND = "Answer in rhymes", "Which way", "Straightahead", "And afterwards"
_ONE = [{"role": "user", "content": _FIRST}]
_ANSWERED = [*_ONE, {"role": "assistant", "content": _ANSWER}]
_SEVERAL = [*_ANSWERED, {"role": "user", "content": _SECOND}]
_MARKER = re.compile(r"<\|[^\s|<>]+\|>|</?s>|<(?:start|end)_of_turn>|\[/?INST\]|<(?:bos|eos|pad)>")


class _Refused(Exception):
    """A template that did not render. `plain` where the template itself refuses the conversation."""

    def __init__(self, says: str, plain: bool) -> None:
        super().__init__(says)
        self.plain = plain


def rules(folder: Path, words: Words) -> list[Finding]:
    """What is wrong with the chat template of a folder. A base model that has none is told, not refused."""
    placed, template = list(_places(folder)), template_of(folder)
    if template is None:
        return placed or [_none(folder)]
    speaker = SimpleNamespace(
        chat_template=template,
        get_chat_template=lambda: template,
        special_tokens_map={f"{role}_token": text for role, text in words.roles.items()},
    )
    try:
        text = _render(speaker, _ONE, prompt=True)
    except _Refused as refused:
        what, fix = "does not render a question of the user: every chat request fails", "Restore the base's template"
        return [*placed, Finding("template-broken", "E", _where(folder), what, str(refused), fix)]
    found = [*_conversations(folder, speaker, text), *_ends(folder, speaker, words)]
    return [*placed, *found, *_pieces(folder, text, words), *_openings(folder, text, words)]


def _render(speaker: Any, messages: list[dict[str, str]], prompt: bool = False) -> str:
    try:
        return render(speaker, messages, add_generation_prompt=prompt)
    except UserError as error:
        what, _, said = error.problems[0].what.partition("conversation: ")
        raise _Refused(said or str(error), plain=what.startswith("refuses")) from error
    except Exception as error:
        # A template is a program: what it adds up or looks up may raise anything.
        raise _Refused(f"{type(error).__name__}: {error}", plain=False) from error


def _where(folder: Path) -> str:
    return str(folder / (TEMPLATE if (folder / TEMPLATE).is_file() else TOKENIZER_CONFIG))


def _inline(folder: Path) -> str | None:
    value = opened(folder / TOKENIZER_CONFIG).get("chat_template")
    if isinstance(value, list):
        named = {mapping(entry).get("name"): mapping(entry).get("template") for entry in value}
        value = named.get("default")
    return value if isinstance(value, str) and value else None


def _file(folder: Path) -> str | None:
    path = folder / TEMPLATE
    return path.read_bytes().decode("utf-8", errors="replace") if path.is_file() else None


def template_of(folder: Path) -> str | None:
    """The chat template of a folder, as newer engines find it; None where it has none."""
    return _file(folder) or _inline(folder)


def _places(folder: Path) -> Iterator[Finding]:
    inline, file = _inline(folder), _file(folder)
    if isinstance(opened(folder / TOKENIZER_CONFIG).get("chat_template"), list) and inline is None and file is None:
        what, fix = "has several chat templates and none named default: chat requests fail", f"Add {TEMPLATE}"
        yield Finding("no-default-template", "E", str(folder / TOKENIZER_CONFIG), what, "", fix)
    if file is not None and not file.strip():
        what = "is empty: every question becomes an empty prompt"
        yield Finding("template-broken", "E", str(folder / TEMPLATE), what, "", "Delete it or restore the base's")
    elif inline and file and inline.removesuffix("\n") != file.removesuffix("\n"):
        what = f"is another template than {TEMPLATE}: older engines follow one, newer ones the other"
        fix = "Write the template that the model was trained with into both"
        yield Finding("templates-differ", "E", str(folder / TOKENIZER_CONFIG), what, "", fix)
    elif file and not inline:
        what = f"has the chat template in {TEMPLATE} alone: early versions of transformers 4 and of engines see none"
        fix = f'Write it into "chat_template" of {TOKENIZER_CONFIG} as well'
        yield Finding("template-in-one-place", "W", str(folder), what, "", fix)


def _none(folder: Path) -> Finding:
    what = "has no chat template: it completes text, and chat requests are answered with HTTP 400"
    fix = "For a chat model write the template it was trained with into chat_template.jinja; a base model needs none"
    return Finding("no-chat-template", "W", str(folder), what, "", fix)


def _conversations(folder: Path, speaker: Any, text: str) -> Iterator[Finding]:
    where, fix = _where(folder), "Restore the template of the model it was trained from"
    if _FIRST not in text:
        yield Finding("template-drops-words", "E", where, "leaves out what the user says", text[:60], fix)
    try:
        several = _render(speaker, _SEVERAL, prompt=True)
        lost = [said for said in (_FIRST, _ANSWER, _SECOND) if said not in several]
        if lost and _FIRST in text:
            yield Finding("template-drops-words", "E", where, "leaves out turns of a longer conversation", lost[0], fix)
    except _Refused as refused:
        severity: Severity = "W" if refused.plain else "E"
        what = "does not render a conversation of several turns: such requests fail"
        yield Finding("template-single-turn", severity, where, what, str(refused), fix)
    try:
        guided = _render(speaker, [{"role": "system", "content": _SYSTEM}, *_ONE], prompt=True)
        if _SYSTEM not in guided:
            what = "leaves out the system turn without a word"
            yield Finding("template-drops-system", "W", where, what, "", "Tell its users, or render the turn")
    except _Refused as refused:
        what, fix = "refuses a system turn: such requests are answered with HTTP 400", "Tell its users"
        yield Finding("template-refuses-system", "W", where, what, str(refused), fix)


def _ends(folder: Path, speaker: Any, words: Words) -> Iterator[Finding]:
    """vLLM stops at the tokenizer's EOS and those of the generation config; transformers at the latter alone."""
    try:
        after = _render(speaker, _ANSWERED).rpartition(_ANSWER)[2]
    except _Refused:
        return  # told as template-single-turn
    generation = folder / GENERATION
    stops = special_ids(opened(generation if generation.is_file() else folder / CONFIG), "eos")
    end = next((token for token in words.encode(after) if token in words.added or token in stops), None)
    where = str(generation if generation.is_file() else folder)
    if end is None:
        yield _endless(folder, after)
    elif end not in stops:
        token = next(text for text, known in words.ids.items() if known == end)
        fix = f"Set eos_token_id in {GENERATION} to {[*stops, end] if stops else end}"
        if end == words.role("eos"):
            what = "eos_token_id lacks the token that ends a turn: vLLM stops there, transformers does not"
            yield Finding("turn-end-not-in-generation", "W", where, what, f"{end} ({token})", fix)
        else:
            what = "eos_token_id lacks the token that ends a turn: answers run on to the length limit"
            yield Finding("never-stops", "E", where, what, f"{end} ({token})", fix)


def _endless(folder: Path, after: str) -> Finding:
    if marker := _MARKER.search(after):
        what = "ends an answer with a marker that is no token of the tokenizer: nothing stops the model there"
        fix = "Use the tokenizer that the model was trained with, which has it as a special token"
        return Finding("turn-end-in-pieces", "E", _where(folder), what, marker[0], fix)
    what = "ends an answer with no token that could stop the model"
    return Finding("no-turn-end", "W", _where(folder), what, after.strip()[:40], "Write eos_token after each answer")


def _pieces(folder: Path, text: str, words: Words) -> Iterator[Finding]:
    broken = [marker for marker in dict.fromkeys(_MARKER.findall(text)) if len(words.encode(marker)) > 1]
    if broken:
        what = "writes markers that are no single tokens: right only if the model was trained so"
        fix = "Check that the tokenizer is the one the model was trained with"
        yield Finding("marker-in-pieces", "W", _where(folder), what, ", ".join(broken), fix)


def _openings(folder: Path, text: str, words: Words) -> Iterator[Finding]:
    bos = words.role("bos")
    if bos is None:
        return
    chat, adds = words.encode(text), words.encode(_FIRST, special=True)[:1] == [bos]
    if chat[:2] == [bos, bos]:
        fix = "Write bos_token once in the template"
        yield Finding("double-bos", "E", _where(folder), "begins a chat with BOS twice", words.roles["bos"], fix)
    elif adds and chat[:1] == [bos]:
        what = "writes BOS, and the tokenizer adds one: text rendered by a client begins with it twice"
        fix = "Tell clients that render the template themselves to send add_special_tokens: false"
        yield Finding("double-bos-outside-chat", "W", _where(folder), what, words.roles["bos"], fix)
    elif adds:
        what = "writes no BOS, which the tokenizer puts before plain text: chats begin without it"
        fix = "Write bos_token in the template if the model was trained with it"
        yield Finding("chat-without-bos", "W", _where(folder), what, words.roles["bos"], fix)
