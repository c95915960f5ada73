"""A model to a folder that is shipped, and the proof that it is what was trained."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.engine.stage import Inputs
from pipelines.export import adapter, answers, engines, written
from pipelines.export.card import write_card
from pipelines.export.config import ExportConfig
from pipelines.export.engines import ByName, Seen
from pipelines.export.job import Job, Shipped, open_job, ship_adapter
from pipelines.export.stories import adapter_name, document, stories
from pipelines.export.write import is_tied, write_folder
from pipelines.serving.findings import Check, Finding
from pipelines.serving.look.fresh import Reloaded, reload
from pipelines.serving.look.live import Live, live_logits

FOLDER = "safetensors"


def run(config: ExportConfig, inputs: Inputs, out_dir: Path) -> dict[str, Any]:
    """Write `out_dir/safetensors` and `out_dir/adapter`, reload and compare; then `verification.json`.

    UserError with the check that failed; nothing is shipped that was not verified.
    """
    job = open_job(config, inputs, out_dir / FOLDER)
    words = written.same_words(job.model.path, job.base.path)
    job.folder.mkdir()
    keep = config.dtype == "keep"
    left_out = write_folder(job.model.path, job.base.path, job.folder, job.dtype, keep, config.max_shard_size)
    shipped = ship_adapter(job)
    told = stories(job, shipped)
    for folder, story in told.items():
        write_card(folder, story)
    files = [
        words,
        written.same_files(job.model.path, job.folder),
        written.same_weights(job.model.path, job.folder, left_out),
    ]
    warnings = _sound(job, shipped)
    after = reload(job.folder)
    live = live_logits(job.parent.path, job.live.path, after.facts["prompts"], job.dtype) if job.live else None
    said = [*_answers(job, after), *_adapter(job, after, live)]
    seen = list(_engines(job, shipped, after, live))
    return document(job, shipped, told, [*files, *said], warnings, seen)


def _sound(job: Job, shipped: Shipped) -> list[Finding]:
    """What the rules for folders that are to be served warn of."""
    beside = written.sound(shipped.folder, base=job.parent.path) if shipped.folder else []
    return [*written.sound(job.folder), *beside]


def _answers(job: Job, after: Reloaded) -> list[Check]:
    """What the model answers, before and after; whole models are loaded one at a time."""
    model = job.model.path
    checks = [
        answers.same_facts(model, job.folder, job.dtype, is_tied(model), after.facts),
        answers.ends(job.folder, after.facts),
        answers.parity(model, job.dtype, after),
        answers.rounding(model, job.own, job.dtype, after),
    ]
    # By name: another entry that holds the same weights is the wrong folder, or was never trained.
    if job.config.model != job.config.base:
        checks.append(answers.differs(job.base.path, job.dtype, after))
    return checks


def _adapter(job: Job, after: Reloaded, live: Live | None) -> list[Check]:
    """The adapter at work against the merged weights, where there is one."""
    if live:
        return answers.merged_is_live(live, after, exact=job.own == job.dtype == "float32")
    if job.adapter and (seen := adapter.merged_into_dequantised(job.model)):
        return [Check(answers.LIVE, f"on the 4-bit base, as the merge saw it: {seen['max_dlogit']}")]
    return []


def _engines(job: Job, shipped: Shipped, after: Reloaded, live: Live | None) -> Iterator[Seen]:
    """The engines that were asked for, in their order."""
    for engine in job.config.engines:
        if engine == "transformers4":
            yield engines.in_transformers4(job.folder, after)
            continue
        name = ByName(adapter_name(job), shipped.folder, job.parent.path, live) if shipped.folder and live else None
        yield engines.in_vllm(job.folder, job.dtype, after, name)
