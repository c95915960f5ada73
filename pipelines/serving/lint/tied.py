"""Rules about a head that is the embedding: the flag says so, or the files hold a head of their own, not both."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipelines.hf.folder import CONFIG
from pipelines.hf.safetensors import Located
from pipelines.serving.findings import Finding
from pipelines.serving.lint.opened import mapping
from pipelines.serving.lint.weights_files import Stored

_FLAG = "tie_word_embeddings"
_PIECE, _PIECES = 1 << 16, 256


def rules(folder: Path, ties: Mapping[str, str], stored: Stored) -> Iterator[Finding]:
    """A tensor that the files hold beside the one it is tied to: engines read one of them alone."""
    for name, source in ties.items():
        if name not in stored.tensors or source not in stored.tensors:
            continue
        if _differ(stored.tensors[name], stored.tensors[source]):
            what = f"{name} differs from {source}, which {_FLAG} says it is: engines ignore it"
            fix = f'Set "{_FLAG}": false in {CONFIG}, in its text_config too, or delete {name}'
            yield Finding("tied-head-differs", "E", str(folder), what, "", fix)


def flags(folder: Path, config: Mapping[str, Any]) -> Iterator[Finding]:
    """The flag of a wrapping config against that of its text_config: transformers reads one, vLLM the other."""
    outer, inner = config.get(_FLAG), mapping(config.get("text_config")).get(_FLAG)
    if isinstance(outer, bool) and isinstance(inner, bool) and outer != inner:
        what, got = f"{_FLAG} differs from that of text_config", f"{outer} and {inner}"
        yield Finding("tie-flags", "E", str(folder / CONFIG), what, got.lower(), "Set both to what the weights are")


def _differ(one: Located, other: Located) -> bool:
    """Whether two tensors differ, by up to 256 pieces of 64 KB spread over them: all of them, up to 16 MB."""
    if (one.info.dtype, one.info.shape) != (other.info.dtype, other.info.shape):
        return True
    size = one.info.end - one.info.start
    step = max(_PIECE, size // _PIECES)
    with one.file.open("rb") as left, other.file.open("rb") as right:
        for at in range(0, size, step):
            left.seek(one.info.start + at)
            right.seek(other.info.start + at)
            length = min(_PIECE, size - at)
            if left.read(length) != right.read(length):
                return True
    return False
