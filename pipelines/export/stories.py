"""What each folder of an export tells of itself, and what the stage returns."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipelines.export import adapter, answers
from pipelines.export.card import Proof, Story, write_serving
from pipelines.export.engines import Seen
from pipelines.export.job import Job, Shipped
from pipelines.hf.folder import describe, licence_of, write_json
from pipelines.serving.beside import arguments
from pipelines.serving.findings import Check, Finding, verification

_BASE = "BASE"
_VERSIONS = ("torch", "transformers", "tokenizers", "safetensors")


def stories(job: Job, shipped: Shipped) -> dict[Path, Story]:
    """A story for each folder, the merged weights first."""
    licence = licence_of(job.model.path) or licence_of(job.base.path) or job.base.metrics.get("licence")
    facts = {**describe(job.folder), "licence": licence}
    command = ["vllm", "serve", ".", *arguments(job.folder, job.dtype)]
    notes = [f"Note on the base: {note}" for note in job.base.metrics.get("notes", [])]
    about = [_about(shipped)] if job.config.ship_adapter else []
    origin = adapter.origin(job.base)
    told = {
        job.folder: Story(_title(job.model.name), "transformers", licence, origin, facts, [*about, *notes], command)
    }
    if shipped.folder and job.adapter:
        told[shipped.folder] = _of_adapter(job, shipped.folder)
    return told


def _of_adapter(job: Job, folder: Path) -> Story:
    assert job.adapter is not None
    name, origin = adapter_name(job), adapter.origin(job.parent)
    licence = licence_of(job.parent.path) or job.parent.metrics.get("licence")
    facts = {**describe(job.parent.path), "licence": licence}
    # Only what a hub has is found by its name.
    base = origin.name if origin.revision else _BASE
    command = ["vllm", "serve", base, *arguments(job.folder, job.dtype), *adapter.serve_arguments(folder, name)]
    where = f"; {_BASE} stands for the folder of {origin.name}" if base == _BASE else ""
    note = f"A LoRA adapter of {origin.name}; requests name it {name}{where}"
    return Story(_title(job.adapter.name), "peft", licence, origin, facts, [note], command)


def _title(identity: str) -> str:
    """What people call the entry of a node: best of select.best, tuned of merge.tuned+base."""
    return (identity.partition(".")[2] or identity).removesuffix("+base")


def adapter_name(job: Job) -> str:
    """What requests call the adapter: the last part of its entry's name."""
    return job.adapter.name.rpartition(".")[2] if job.adapter else ""


def _about(shipped: Shipped) -> str:
    if shipped.folder:
        return f"The adapter that was merged is shipped too, in {shipped.folder.name}/"
    return f"The adapter is not shipped by itself: {'; '.join(shipped.why)}"


def document(
    job: Job,
    shipped: Shipped,
    told: Mapping[Path, Story],
    checks: Sequence[Check],
    warnings: Sequence[Finding],
    seen: Sequence[Seen],
) -> dict[str, Any]:
    """Write SERVING.json into each folder and verification.json beside them; return the metrics."""
    versions = {name: version(name) for name in _VERSIONS}
    versions |= {name: value for one in seen for name, value in one.versions.items()}
    checks = [*checks, *(check for one in seen for check in one.checks)]
    told_to_vllm = next((one.arguments for one in seen if one.arguments), ())
    proof = Proof(versions, checks, warnings, told_to_vllm)
    for folder, story in told.items():
        write_serving(folder, story, proof)
    ours = {"adapter": {"shipped": shipped.folder is not None, "why": list(shipped.why)}}
    asked = ours if job.config.ship_adapter else {}
    write_json(job.folder.with_name("verification.json"), verification(checks, warnings) | asked)
    return {**_metrics(job, told[job.folder], checks), "warnings": len(warnings), **asked}


def _metrics(job: Job, story: Story, checks: Sequence[Check]) -> dict[str, Any]:
    files = [path for path in job.folder.iterdir() if path.is_file()]
    saw = {check.name: check.saw for check in checks}
    apart = saw.get(answers.DIFFERS)
    return {
        **story.facts,
        "folder": job.folder.name,
        "files": len(files),
        "bytes": sum(path.stat().st_size for path in files),
        "max_abs_dlogit": saw[answers.PARITY],
        "rounding_dlogit": saw[answers.ROUNDING],
        "base_dlogit": apart,
        "differs_from_base": apart is not None,
        "stops": True,
        "checks": len(checks),
    }
