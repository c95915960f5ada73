"""Rules on token ids: those of the tokenizer against the embedding, and of the configs against the tokenizer."""

from collections.abc import Iterator
from pathlib import Path

from pipelines.hf.folder import CONFIG, GENERATION, TOKENIZER, TOKENIZER_CONFIG
from pipelines.serving.findings import Finding, Severity
from pipelines.serving.lint.opened import opened
from pipelines.serving.lint.vocabulary import Words, role_texts, rows, special_ids

_ROLES = ("bos", "eos", "pad")


def rules(folder: Path, words: Words) -> list[Finding]:
    """Ids that the model has no row for, special tokens that are none, and configs that name others."""
    return [*_unknown(folder, words), *_too_many(folder, words), *_outside(folder), *_disagreeing(folder, words)]


def _unknown(folder: Path, words: Words) -> Iterator[Finding]:
    for role, text in role_texts(folder).items():
        if text not in words.ids:
            what = f"{role}_token is not in the vocabulary: transformers would add it, with an id of its own"
            fix = "Name the token that tokenizer.json has, or save model and tokenizer together after resizing"
            yield Finding("special-token-unknown", "E", str(folder / TOKENIZER_CONFIG), what, text, fix)


def _too_many(folder: Path, words: Words) -> Iterator[Finding]:
    size, largest = rows(folder), max(words.ids.values())
    if size is not None and largest >= size:
        token = next(text for text, token in words.ids.items() if token == largest)
        what = "has ids that the embedding has no row for: a prompt with such a token fails or reads other memory"
        fix = "Use the tokenizer that the model was trained with, or resize the embedding to the tokenizer"
        yield Finding(
            "tokenizer-too-big", "E", str(folder / TOKENIZER), what, f"id {largest} ({token}), {size} rows", fix
        )


def _outside(folder: Path) -> Iterator[Finding]:
    size = rows(folder)
    if size is None:
        return
    for name in (CONFIG, GENERATION):
        settings = opened(folder / name)
        for role in _ROLES:
            for token in special_ids(settings, role):
                if not 0 <= token < size:
                    # A padding of -1 is how the first Llamas said that they have none.
                    severity: Severity = "W" if role == "pad" and token == -1 else "E"
                    what, fix = f"{role}_token_id is outside the vocabulary", f"Name one of the ids 0 to {size - 1}"
                    yield Finding("id-outside-vocabulary", severity, str(folder / name), what, str(token), fix)


def _disagreeing(folder: Path, words: Words) -> Iterator[Finding]:
    for name in (CONFIG, GENERATION):
        settings = opened(folder / name)
        for role in _ROLES:
            own, named = words.role(role), special_ids(settings, role)
            if own is not None and named and own not in named:
                what = f"{role}_token_id is not the tokenizer's {role}_token {words.roles[role]}"
                got = f"{', '.join(map(str, named))}, tokenizer {own}"
                yield Finding(
                    "special-ids-disagree", "W", str(folder / name), what, got, f"Set {role}_token_id to {own}"
                )
