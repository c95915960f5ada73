"""What is said beside quantised weights: a short model card for people, and SERVING.json for machines."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.hf.folder import CARD, licence_of, write_json
from pipelines.serving.beside import SERVING, arguments, card, digests, head
from pipelines.serving.findings import Check


def say(
    folder: Path,
    out: Path,
    title: str,
    dtype: str,
    done: Sequence[str],
    versions: Mapping[str, str],
    checks: Sequence[Check],
) -> None:
    """Write README.md and SERVING.json into `out`. `done` are sentences on what was made of the export's `folder`."""
    command = ["vllm", "serve", ".", *arguments(out, dtype)]
    paragraphs = [
        f"# {title}",
        " ".join(f"{sentence}." for sentence in done) + " Made with Burnish.",
        f"Serve it, from inside this folder:\n\n```\n{' '.join(command)}\n```",
        f"`{SERVING}` holds the checksums, the versions and what was verified.",
    ]
    (out / CARD).write_text(card(head("transformers", licence_of(folder)), paragraphs), encoding="utf-8")
    told = {
        "vllm": {"command": command},
        "quantisation": list(done),
        "versions": dict(versions),
        "verified": {check.name: check.saw for check in checks},
        "files": digests(out),
    }
    write_json(out / SERVING, told)
