"""What is said beside quantised weights: a short model card for people, and SERVING.json for machines."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.engine.digest import file_digest
from pipelines.hf.folder import CARD, CONFIG, licence_of, read_json
from pipelines.quantize.compressed import SERVING, write_json
from pipelines.serving.findings import Check

_POSITIONS = "max_position_embeddings"


def say(
    folder: Path,
    out: Path,
    title: str,
    dtype: str,
    done: Sequence[str],
    versions: Mapping[str, str],
    checks: list[Check],
) -> None:
    """Write README.md and SERVING.json into `out`. `done` are sentences on what was made of the export's `folder`."""
    command = ["vllm", "serve", ".", *arguments(read_json(out / CONFIG), dtype)]
    (out / CARD).write_text(card(title, done, licence_of(folder), command), encoding="utf-8")
    files = sorted(path for path in out.iterdir() if path.is_file())
    told = {
        "vllm": {"command": command},
        "quantisation": list(done),
        "versions": dict(versions),
        "verified": {check.name: check.saw for check in checks},
        "files": {path.name: file_digest(path) for path in files},
    }
    write_json(out / SERVING, told)


def arguments(config: Mapping[str, Any], dtype: str) -> list[str]:
    """The type is named because engines would choose one by themselves."""
    positions = config.get(_POSITIONS, (config.get("text_config") or {}).get(_POSITIONS))
    return ["--dtype", dtype, *([] if positions is None else ["--max-model-len", str(positions)])]


def card(title: str, done: Sequence[str], licence: str | None, command: Sequence[str]) -> str:
    """README.md of a level."""
    front = ["---", "library_name: transformers", *([f"license: {licence.lower()}"] if licence else []), "---"]
    lines = [
        f"# {title}",
        " ".join(f"{sentence}." for sentence in done) + " Made with Burnish.",
        f"Serve it from this folder: `{' '.join(command)}`",
        f"`{SERVING}` holds the checksums, the versions and what was verified.",
    ]
    return "\n".join(front) + "\n\n" + "\n\n".join(lines) + "\n"
