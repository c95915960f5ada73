"""What one export has to do: from which model, in which type, beside which adapter, and where to."""

from pathlib import Path
from typing import NamedTuple

from pipelines.engine.stage import Artifact, Inputs
from pipelines.errors import wrong
from pipelines.export import adapter
from pipelines.export.config import ExportConfig
from pipelines.hf.folder import describe, require_sound
from pipelines.hf.models import DTYPES


class Job(NamedTuple):
    """`own` and `dtype` are the types of the weights before and after; with `adapter`, `parent` became `model`."""

    config: ExportConfig
    model: Artifact
    base: Artifact
    adapter: Artifact | None
    parent: Artifact
    own: str
    dtype: str
    folder: Path

    @property
    def live(self) -> Artifact | None:
        """The adapter, where it can be put to work beside the merged weights and must say the same."""
        known = self.adapter is not None and self.adapter.kind == "adapter"
        return self.adapter if known and not adapter.merged_into_dequantised(self.model) else None


class Shipped(NamedTuple):
    """The folder of the adapter beside the weights; where one was asked for and is not there, why."""

    folder: Path | None = None
    why: tuple[str, ...] = ()


def open_job(config: ExportConfig, inputs: Inputs, folder: Path) -> Job:
    """UserError where the model is not sound, or of a type that is not exported."""
    model, base = inputs[config.model], inputs[config.base]
    require_sound(model.path)
    own = describe(model.path)["dtype"]
    dtype = own if config.dtype == "keep" else config.dtype
    if dtype not in DTYPES:
        fix = "Name float32, bfloat16 or float16"
        raise wrong("export.model", "holds weights of a type that is not exported", dtype, fix)
    trained = inputs[config.adapter] if config.adapter else None
    return Job(config, model, base, trained, inputs[config.parent] if config.parent else base, own, dtype, folder)


def ship_adapter(job: Job) -> Shipped:
    """Write the adapter's folder, where it is asked for and vLLM can serve it."""
    if not job.config.ship_adapter:
        return Shipped()
    if job.adapter is None:
        return Shipped(None, (f"{job.model.name} is not its base with one adapter",))
    if why := adapter.unshippable(job.adapter, job.parent, job.model):
        return Shipped(None, tuple(why))
    folder = job.folder.with_name(adapter.FOLDER)
    folder.mkdir()
    adapter.write_adapter(job.adapter.path, job.parent, folder)
    return Shipped(folder)
