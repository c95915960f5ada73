"""The Modelfile with which Ollama serves a GGUF file as it was trained: template, stop tokens, context, sampling."""

from collections.abc import Mapping, Sequence
from typing import Any

# A longer context is asked for by those who have the memory: Ollama reserves all of it at the start.
_CONTEXT = 8192
_SAMPLING = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "repetition_penalty": "repeat_penalty",
}
_QUOTES = '"""'


class Unwritable(Exception):
    """A Modelfile cannot hold this text: it has no escapes, ends at three quotes, and drops what cannot be printed."""


def modelfile(
    file: str,
    template: str,
    stops: Sequence[str],
    parameters: Mapping[str, float | int],
    system: str = "",
    licence: str = "",
) -> str:
    """The Modelfile of `file`, beside which it lies. Unwritable where a text does not fit into its quotes."""
    lines = [f"FROM ./{file}", f"TEMPLATE {quoted(template)}"]
    lines += [f"SYSTEM {quoted(system)}"] if system else []
    lines += [f"PARAMETER stop {_stop(stop)}" for stop in stops]
    lines += [f"PARAMETER {name} {value}" for name, value in parameters.items()]
    lines += [f"LICENSE {quoted(licence)}"] if licence else []
    return "\n".join(lines) + "\n"


def parameters(generation: Mapping[str, Any], positions: int | None) -> dict[str, float | int]:
    """`num_ctx` and, in Ollama's names, what a generation config says of sampling; what it does not say is left out."""
    found: dict[str, float | int] = {} if positions is None else {"num_ctx": min(positions, _CONTEXT)}
    found |= {ours: generation[theirs] for theirs, ours in _SAMPLING.items() if generation.get(theirs) is not None}
    if generation.get("do_sample") is False:
        found["temperature"] = 0
    return found


def quoted(text: str) -> str:
    """Text in three quotes; printable text alone is read as it stands."""
    if _QUOTES in text:
        raise Unwritable(f"{_QUOTES} in {text[:40]!r}")
    if lost := next((character for character in text if not (character.isprintable() or character in "\n\r\t")), None):
        raise Unwritable(f"the character U+{ord(lost):04X}")
    return f"{_QUOTES}{text}{_QUOTES}"


def _stop(token: str) -> str:
    """Inside of a single pair of quotes nothing is escaped, and only the pair is taken off."""
    if _QUOTES in f'"{token}"' or not token.isprintable():
        raise Unwritable(f"the stop token {token!r}")
    return f'"{token}"'
