"""A model folder made uniform: one chat template, a tokenizer that follows its file, a config that stops, a licence."""

from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from pipelines.errors import wrong
from pipelines.hf.folder import (
    CARD,
    CONFIG,
    GENERATION,
    TEMPLATE,
    TOKENIZER_CONFIG,
    chat_template,
    id_list,
    licence_of,
    read_json,
    write_json,
)
from pipelines.hf.models import changed_parts
from pipelines.hf.stops import stopping


def finish(folder: Path, licence: str | None) -> list[str]:
    """Make the folder uniform and return what was changed or is missing, as sentences."""
    notes = [
        *_template(folder),
        *_pad(folder),
        *_tokenizer_class(folder),
        *_generation(folder),
        *_licence(folder, licence),
    ]
    for file in folder.iterdir():
        file.chmod(0o644)
    return notes


def _template(folder: Path) -> list[str]:
    """The template in its own file. A model without one still learns from plain text, so it is only noted."""
    template = chat_template(folder)
    if template is None:
        return [f"no chat template: conversations need one, in {TEMPLATE}"]
    (folder / TEMPLATE).write_bytes(template.encode())
    return _edit(folder / TOKENIZER_CONFIG, {"chat_template": None}, "")


def _pad(folder: Path) -> list[str]:
    settings = read_json(folder / TOKENIZER_CONFIG)
    if settings.get("pad_token") is not None or settings.get("eos_token") is None:
        return []
    note = "no padding token: the end-of-text token pads, and padding takes no part in any loss"
    return _edit(folder / TOKENIZER_CONFIG, {"pad_token": settings["eos_token"]}, note)


def _tokenizer_class(folder: Path) -> list[str]:
    """Transformers 5 ignores `tokenizer.json` for some classes; the class named here follows it in 4 and 5."""
    words = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    parts = ", ".join(changed_parts(folder, words))
    note = f"tokenizer class {type(words).__name__} replaced: its {parts} differs from tokenizer.json"
    return _edit(folder / TOKENIZER_CONFIG, {"tokenizer_class": "PreTrainedTokenizerFast"}, note) if parts else []


def _generation(folder: Path) -> list[str]:
    """A generation config that stops where the chat template ends a turn."""
    words = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    path = folder / GENERATION
    config = read_json(folder / CONFIG)
    ids = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id") if config.get(key) is not None}
    before = read_json(path) if path.is_file() else ids
    after = stopping(before, words)
    if after == before and path.is_file():
        return []
    write_json(path, after)
    added = set(id_list(after.get("eos_token_id"))) - set(id_list(before.get("eos_token_id")))
    return [f"generation also stops at {words.convert_ids_to_tokens(token)}" for token in sorted(added)]


def _licence(folder: Path, licence: str | None) -> list[str]:
    stated = licence_of(folder)
    if stated and licence and stated.lower() != licence.lower():
        raise wrong(
            "base.licence", f"the model's card states {stated}", licence, "Leave the licence out, or correct it"
        )
    if stated or not licence:
        return [] if stated else ["no licence is stated: set base.licence"]
    card = folder / CARD
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    body = text.removeprefix("---\n") if text.startswith("---\n") else f"---\n{text}"
    card.write_text(f"---\nlicense: {licence}\n{body}", encoding="utf-8")
    return [f"licence as the recipe states it: {licence}"]


def _edit(path: Path, changes: dict[str, Any], note: str) -> list[str]:
    """Change a JSON file where it differs; None removes a key."""
    before = read_json(path)
    after = {key: value for key, value in (before | changes).items() if value is not None or key not in changes}
    if after == before:
        return []
    write_json(path, after)
    return [note] if note else []
