"""The adapter that is shipped beside the merged weights, where vLLM's LoRA can serve it."""

import shutil
from collections.abc import Mapping
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any, NamedTuple

from pipelines.engine.stage import Artifact
from pipelines.hf.folder import LICENCE_FILES, companions, read_json, write_json
from pipelines.serving.lint.adapter import unservable
from pipelines.serving.vllm.flags import adapter_flags

FOLDER = "adapter"
SETTINGS, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_RANK = "--max-lora-rank"


class Origin(NamedTuple):
    """What a model is called elsewhere: its name on the hub and the commit, else a name that is no place.

    `says` is for people: where it came from in words.
    """

    name: str
    revision: str | None
    says: str

    @property
    def is_on_hub(self) -> bool:
        return self.revision is not None


def origin(artifact: Artifact) -> Origin:
    """Where a model comes from, as its stage says; the name of its entry where it was made here."""
    source = str(artifact.metrics.get("source", ""))
    kind, _, place = source.partition(" ")
    name, _, revision = place.partition("@")
    if kind == "hub" and name and revision:
        return Origin(name, revision, f"{name}, revision {revision}")
    return Origin(place if kind == "folder" and place else artifact.name, None, source or artifact.name)


def unshippable(adapter: Artifact, parent: Artifact, model: Artifact) -> list[str]:
    """Why the adapter cannot be served in place of the merged model; empty where it can."""
    if adapter.kind != "adapter":
        return [f"{adapter.name} is no adapter: all weights were trained"]
    if merged_into_dequantised(model):
        return ["it was merged into the values of its 4-bit base, and beside the full base it is another model"]
    return unservable(adapter.path, parent.path)


def merged_into_dequantised(model: Artifact) -> Mapping[str, Any] | None:
    """How far the merge saw it from the adapter at work, where it merged into the values of a 4-bit base."""
    seen = model.metrics.get("quantised") or {}
    return seen["dequantised"] if seen.get("kept") == "dequantised" else None


def write_adapter(source: Path, parent: Artifact, out: Path) -> None:
    """The PEFT folder without anything of the machine that it was trained on; licence files are the parent's."""
    named = origin(parent)
    settings = {key: None if _is_place(value) else value for key, value in read_json(source / SETTINGS).items()}
    settings |= {"base_model_name_or_path": named.name, "revision": named.revision, "inference_mode": True}
    write_json(out / SETTINGS, dict(sorted(settings.items())))
    shutil.copyfile(source / WEIGHTS, out / WEIGHTS)
    for file in companions(parent.path):
        if LICENCE_FILES.match(file.name):
            shutil.copyfile(file, out / file.name)
    for file in out.iterdir():
        file.chmod(0o644)


def serve_arguments(folder: Path, name: str) -> list[str]:
    """What vLLM is told to serve the adapter in this folder under a name, beside its base."""
    told = adapter_flags({name: folder})
    return ["--enable-lora", _RANK, told[told.index(_RANK) + 1], "--lora-modules", f"{name}=."]


def _is_place(value: object) -> bool:
    return isinstance(value, str) and (PurePath(value).is_absolute() or PureWindowsPath(value).is_absolute())
