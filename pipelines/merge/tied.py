"""Which tensors are embedding and output head, and whether they share one, told from config and names."""

from collections.abc import Iterable, Mapping
from typing import Any

_HEADS = ("lm_head.weight", "embed_out.weight")
_EMBEDDINGS = (
    "embed_tokens.weight",
    "wte.weight",
    "embed_in.weight",
    "word_embeddings.weight",
    "tok_embeddings.weight",
)
_OTHER_TABLES = (
    "wpe.weight",
    "embed_positions.weight",
    "position_embeddings.weight",
    "token_type_embeddings.weight",
)


def tie_flag(config: Mapping[str, Any]) -> bool | None:
    """tie_word_embeddings, where the config says; architectures differ in their default."""
    flag = config.get("tie_word_embeddings", (config.get("text_config") or {}).get("tie_word_embeddings"))
    return None if flag is None else bool(flag)


def head_name(names: Iterable[str]) -> str | None:
    """The stored output head."""
    return next((name for name in sorted(names) if _ends(name, _HEADS)), None)


def embedding_name(names: Iterable[str]) -> str | None:
    """The token embedding."""
    return next((name for name in sorted(names) if _ends(name, _EMBEDDINGS)), None)


def is_tied(config: Mapping[str, Any], names: Iterable[str]) -> bool:
    """True where the head is the embedding. Where the config does not say, a head that is not stored must be."""
    flag = tie_flag(config)
    return flag if flag is not None else head_name(names) is None


def is_embedding_or_head(name: str) -> bool:
    """Whether a tensor's rows stand for tokens."""
    return _ends(name, _HEADS + _EMBEDDINGS)


def is_linear_map(name: str) -> bool:
    """Whether a matrix of this name is multiplied with activations: no table of rows to look up, and no head."""
    return not _ends(name, _HEADS + _EMBEDDINGS + _OTHER_TABLES)


def _ends(name: str, endings: tuple[str, ...]) -> bool:
    return any(name == ending or name.endswith(f".{ending}") for ending in endings)
