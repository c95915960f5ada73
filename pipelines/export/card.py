"""What is said beside the weights: a model card for people, and SERVING.json for machines."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.export.adapter import Origin
from pipelines.hf.folder import CARD, write_json
from pipelines.serving import beside
from pipelines.serving.beside import SERVING, digests
from pipelines.serving.findings import Check, Finding


class Story(NamedTuple):
    """What a card tells: the title, the library that loads it, its licence and base, facts, and how to serve it.

    `notes` are sentences; `command` is for vLLM, typed inside the folder.
    """

    title: str
    library: str
    licence: str | None
    base: Origin
    facts: Mapping[str, Any]
    notes: Sequence[str]
    command: Sequence[str]


class Proof(NamedTuple):
    """What is known of a folder: versions, the checks that held, warnings, and the arguments that vLLM was told."""

    versions: Mapping[str, str]
    checks: Sequence[Check]
    warnings: Sequence[Finding]
    verified_with: Sequence[str] = ()


def write_card(folder: Path, story: Story) -> None:
    """README.md with the front matter that the hub reads."""
    (folder / CARD).write_text(card(story), encoding="utf-8")
    (folder / CARD).chmod(0o644)


def card(story: Story) -> str:
    facts = story.facts
    made = f"{facts['architecture']}, {facts['parameters']:,} parameters, {facts['dtype']}. Made with Burnish."
    lines = [
        f"# {story.title}",
        made,
        f"Base model: {story.base.says}.",
        *(f"{note}." for note in story.notes),
        f"Serve it, from inside this folder:\n\n```\n{' '.join(story.command)}\n```",
        f"`{SERVING}` holds the checksums, the versions and what was verified.",
    ]
    base = story.base.name if story.base.is_on_hub else None
    return beside.card(beside.head(story.library, story.licence, base), lines)


def write_serving(folder: Path, story: Story, proof: Proof) -> None:
    """SERVING.json: how to serve the folder, every file with its sha256, and what was verified with which versions."""
    told = {
        "vllm": {"command": list(story.command), "verified_with": list(proof.verified_with)},
        "model": dict(story.facts),
        "versions": dict(proof.versions),
        "verified": {check.name: check.saw for check in proof.checks},
        "warnings": [finding.rule for finding in proof.warnings],
        "files": digests(folder),
    }
    write_json(folder / SERVING, told)
    (folder / SERVING).chmod(0o644)
