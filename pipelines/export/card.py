"""What is said beside the weights: a short model card for people, and SERVING.json for machines."""

from collections.abc import Mapping, Sequence
from typing import Any


def card(name: str, facts: Mapping[str, Any], licence: str | None, origin: Mapping[str, Any]) -> str:
    """README.md of the export. `facts` describe its folder, `origin` the base model as its stage described it."""
    front = ["---", "library_name: transformers", *([f"license: {licence.lower()}"] if licence else []), "---"]
    lines = [
        f"# {name}",
        f"{facts['architecture']}, {facts['parameters']:,} parameters, {facts['dtype']}. Made with Burnish.",
        *([f"Base model: {origin['source']}."] if "source" in origin else []),
        *(f"Note on the base: {note}." for note in origin.get("notes", [])),
        "Serve it with the command in `SERVING.json`, which also holds the checksums and what was verified.",
    ]
    return "\n".join(front) + "\n\n" + "\n\n".join(lines) + "\n"


def serving(
    facts: Mapping[str, Any],
    positions: int | None,
    versions: Mapping[str, str],
    digests: Mapping[str, str],
    checks: Sequence[Any],
) -> dict[str, Any]:
    """SERVING.json. The type is named because engines would cast float32 weights to half precision by themselves."""
    arguments = ["--dtype", str(facts["dtype"])]
    if positions is not None:
        arguments += ["--max-model-len", str(positions)]
    return {
        "vllm": {"command": ["vllm", "serve", ".", *arguments]},
        "model": dict(facts),
        "versions": dict(versions),
        "verified": {check.name: check.saw for check in checks},
        "files": dict(digests),
    }
