"""What is said beside weights that are shipped: the head of the card, the checksums, and how vLLM is told to serve."""

from collections.abc import Sequence
from pathlib import Path

from pipelines.engine.digest import file_digest
from pipelines.hf.folder import CONFIG, positions, read_json

SERVING = "SERVING.json"
_TAGS = ("burnish", "text-generation")


def head(library: str, licence: str | None, base: str | None = None) -> list[str]:
    """The front matter that the hub reads. It links `base` to a repository: a name from elsewhere is a broken link."""
    return [
        "---",
        f"library_name: {library}",
        *([f"license: {licence.lower()}"] if licence else []),
        *([f"base_model: {base}"] if base else []),
        "pipeline_tag: text-generation",
        "tags:",
        *(f"- {tag}" for tag in _TAGS),
        "---",
    ]


def card(head: Sequence[str], paragraphs: Sequence[str]) -> str:
    """README.md of a folder."""
    return "\n".join(head) + "\n\n" + "\n\n".join(paragraphs) + "\n"


def digests(folder: Path) -> dict[str, str]:
    """sha256 by name of every file in the folder but SERVING.json, which holds them."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != SERVING)
    return {path.name: file_digest(path) for path in files}


def arguments(folder: Path, dtype: str) -> list[str]:
    """What vLLM is told. The type is named because it would cast float32 weights to half precision by itself."""
    length = positions(read_json(folder / CONFIG))
    return ["--dtype", dtype, *([] if length is None else ["--max-model-len", str(length)])]
