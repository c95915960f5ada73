"""The tokenizer of a folder as `tokenizer.json` has it, opened without transformers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import Tokenizer

from pipelines.hf.folder import CONFIG, TOKENIZER, TOKENIZER_CONFIG
from pipelines.serving.lint.opened import ids, mapping, opened, whole

SPECIAL_TOKENS = "special_tokens_map.json"
ROLES = ("bos", "eos", "pad", "unk")


class Words(NamedTuple):
    """A tokenizer: ids by token, the ids of added tokens, and the text of each special token it names by role."""

    tokenizer: Any
    ids: Mapping[str, int]
    added: frozenset[int]
    roles: Mapping[str, str]

    def encode(self, text: str, special: bool = False) -> list[int]:
        """Ids of a text; with `special` as a plain prompt, opened and closed as the tokenizer does it."""
        return list(self.tokenizer.encode(text, add_special_tokens=special).ids)

    def role(self, name: str) -> int | None:
        """The id of a special token; None where it is not named or is no token."""
        return self.ids.get(self.roles.get(name, ""))


def read_words(folder: Path) -> Words | None:
    """The tokenizer of a folder; None where there is none or it cannot be read."""
    path = folder / TOKENIZER
    if not path.is_file():
        return None
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except BaseException as error:
        # The library raises nothing narrower than Exception, and what is none where its Rust code panics.
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        return None
    added = frozenset(tokenizer.get_added_tokens_decoder())
    return Words(tokenizer, tokenizer.get_vocab(with_added_tokens=True), added, role_texts(folder))


def role_texts(folder: Path) -> dict[str, str]:
    """The text of each special token: as in transformers, `special_tokens_map.json` goes before the settings."""
    return roles_in(folder / TOKENIZER_CONFIG) | roles_in(folder / SPECIAL_TOKENS)


def roles_in(path: Path) -> dict[str, str]:
    """The special tokens that one file names, by role."""
    settings = opened(path)
    values = {role: settings.get(f"{role}_token") for role in ROLES}
    texts = {role: value.get("content") if isinstance(value, dict) else value for role, value in values.items()}
    return {role: text for role, text in texts.items() if isinstance(text, str)}


def rows(folder: Path) -> int | None:
    """Rows of the embedding as the config says: its own or its text config's."""
    config = opened(folder / CONFIG)
    return whole(config.get("vocab_size", mapping(config.get("text_config")).get("vocab_size")))


def special_ids(settings: Mapping[str, Any], role: str) -> list[int]:
    """The ids that a config gives a role: its own or its text config's."""
    own = ids(settings.get(f"{role}_token_id"))
    return own or ids(mapping(settings.get("text_config")).get(f"{role}_token_id"))
