"""Rules on what versions of transformers and of engines read differently in a tokenizer's files."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipelines.errors import few
from pipelines.hf.folder import CONFIG, TOKENIZER, TOKENIZER_CONFIG
from pipelines.serving.findings import Finding
from pipelines.serving.lint.opened import listing, mapping, number, opened
from pipelines.serving.lint.vocabulary import SPECIAL_TOKENS, roles_in

_ENDLESS = 1e20
_NOT_IN_4 = (
    "TokenizersBackend", "PythonBackend", "SentencePieceBackend", "MistralCommonBackend", "Qwen3_5Tokenizer",
    "EsmcTokenizer", "LasrTokenizer", "ParakeetTokenizer", "Siglip2Tokenizer", "Tipsv2Tokenizer",
    "VideoPrismTokenizer",
)  # fmt: skip
"""Tokenizer classes of transformers 5.23 that 4.57 finds neither under this name nor under it with Fast at its end."""


def rules(folder: Path) -> list[Finding]:
    """Settings that one version honours and another drops, and files that say two things."""
    settings = opened(folder / TOKENIZER_CONFIG)
    found = [*_classes(folder, settings), *_length(folder, settings), *_code(folder, settings)]
    return [*found, *_roles(folder), *_added(folder, settings), *_vocabulary(folder)]


def _classes(folder: Path, settings: dict[str, Any]) -> Iterator[Finding]:
    where, name = str(folder / TOKENIZER_CONFIG), settings.get("tokenizer_class")
    if name in _NOT_IN_4:
        what = "tokenizer_class is unknown to transformers 4, which does not load the tokenizer"
        fix = 'Set "tokenizer_class": "PreTrainedTokenizerFast"'
        yield Finding("tokenizer-class-of-5", "W", where, what, str(name), fix)
    if isinstance(settings.get("extra_special_tokens"), list):
        what = "extra_special_tokens is a list, on which transformers 4 fails"
        fix = 'Name it "additional_special_tokens", which both versions read'
        yield Finding("extra-special-tokens-list", "W", where, what, "", fix)


def _length(folder: Path, settings: dict[str, Any]) -> Iterator[Finding]:
    where, limit = str(folder / TOKENIZER_CONFIG), number(settings.get("model_max_length"))
    config = opened(folder / CONFIG)
    text = mapping(config.get("text_config"))
    positions = number(config.get("max_position_embeddings", text.get("max_position_embeddings")))
    fix = f"Set model_max_length to {positions:.0f}" if positions else "Set the longest text that it was trained on"
    if (folder / TOKENIZER_CONFIG).is_file() and (limit is None or limit > _ENDLESS):
        what = "model_max_length is not set: transformers truncates nothing"
        yield Finding("no-length-limit", "W", where, what, str(settings.get("model_max_length", "")), fix)
    elif limit is not None and positions and limit > positions:
        what = "model_max_length is above max_position_embeddings: longer texts than the model takes are not cut"
        yield Finding("length-limit-too-long", "W", where, what, f"{limit:.0f} and {positions:.0f}", fix)
    elif limit is not None and positions and limit < positions / 2:
        what = "model_max_length is far below max_position_embeddings, and vLLM serves no longer texts than that"
        yield Finding("length-limit-too-short", "W", where, what, f"{limit:.0f} and {positions:.0f}", fix)


def _code(folder: Path, settings: dict[str, Any]) -> Iterator[Finding]:
    if "auto_map" in settings:
        what = "asks to run code of its own (auto_map): engines refuse it, or run code with --trust-remote-code"
        fix = 'Remove "auto_map" and name a class that transformers has'
        yield Finding("tokenizer-runs-code", "W", str(folder / TOKENIZER_CONFIG), what, str(settings["auto_map"]), fix)


def _roles(folder: Path) -> Iterator[Finding]:
    settings, over = roles_in(folder / TOKENIZER_CONFIG), roles_in(folder / SPECIAL_TOKENS)
    for role, text in over.items():
        if role in settings and settings[role] != text:
            what = f"names another {role}_token than tokenizer_config.json, and goes before it"
            fix = "Delete it, after writing the right token into tokenizer_config.json"
            got = f"{text}, not {settings[role]}"
            yield Finding("special-tokens-map-differs", "E", str(folder / SPECIAL_TOKENS), what, got, fix)


def _added(folder: Path, settings: dict[str, Any]) -> Iterator[Finding]:
    """Added tokens stand in up to three files: ids come from `tokenizer.json`, tokens that it lacks are added."""
    decoder, file = mapping(settings.get("added_tokens_decoder")), folder / "added_tokens.json"
    known = _tokens(folder) if decoder or file.is_file() else {}
    named = {str(mapping(entry).get("content")): int(at) for at, entry in decoder.items() if at.isdigit()}
    fix = "Save the tokenizer again with save_pretrained"
    for name, said in ((TOKENIZER_CONFIG, named), (file.name, opened(file))):
        new = sorted(text for text in said if text not in known) if known else []
        odd = sorted(text for text, at in said.items() if text in known and known[text] != at)
        if new:
            what = "has tokens that tokenizer.json lacks: transformers adds them, with ids of its own"
            yield Finding("added-tokens-unknown", "E", str(folder / name), what, few(new), fix)
        if odd:
            what = "gives tokens other ids than tokenizer.json, which is followed"
            got = f"{odd[0]}: {said[odd[0]]}, not {known[odd[0]]}"
            yield Finding("added-tokens-differ", "W", str(folder / name), what, got, fix)


def _vocabulary(folder: Path) -> Iterator[Finding]:
    old = opened(folder / "vocab.json")
    known = _tokens(folder) if old else {}
    odd = sorted(text for text, at in old.items() if known.get(text) != at) if known else []
    if odd:
        what = f"is another vocabulary than tokenizer.json, and slow tokenizers read it: {len(odd)} tokens differ"
        fix = "Delete vocab.json and merges.txt, or save the tokenizer again"
        yield Finding("vocabularies-differ", "W", str(folder / "vocab.json"), what, few(odd), fix)


def _tokens(folder: Path) -> Mapping[str, Any]:
    """Id by token as `tokenizer.json` says; empty where it does not."""
    content = opened(folder / TOKENIZER)
    vocabulary = mapping(content.get("model")).get("vocab")
    pieces = [row[0] for row in listing(vocabulary) if isinstance(row, list) and row]
    tokens = dict(mapping(vocabulary)) | {text: at for at, text in enumerate(pieces)}
    added = [mapping(entry) for entry in listing(content.get("added_tokens"))]
    return tokens | {entry["content"]: entry.get("id") for entry in added if isinstance(entry.get("content"), str)}
