"""Rules on an adapter that vLLM is to serve beside its base; which of them say that it must be merged instead.

vLLM answers with HTTP 200 and the words of the base where an adapter's names fit nothing, so each name is looked up in
the headers of the base.
"""

from pathlib import Path
from typing import Any

from pipelines.errors import UserError
from pipelines.hf.safetensors import TensorInfo, read_header
from pipelines.serving.findings import Finding, errors
from pipelines.serving.lint import adapter_beside, adapter_keys, adapter_settings, adapter_values
from pipelines.serving.lint.adapter_base import read_base
from pipelines.serving.lint.opened import opened, unreadable

SETTINGS, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_AGAIN = "Save the adapter again with save_pretrained"


def lint_adapter(folder: Path, base: Path | None = None) -> list[Finding]:
    """Everything that is wrong with an adapter. `base` is the model it belongs to: by default the folder it names.

    Its own values are read, which are few; of the base only headers and configs.
    """
    missing = _files(folder)
    settings = opened(folder / SETTINGS)
    if not settings:
        return missing
    under = base or _named_base(settings)
    found = [*missing, *adapter_settings.rules(folder / SETTINGS, settings)]
    found += adapter_beside.rules(folder, settings, base, under)
    tensors, broken = _header(folder / WEIGHTS)
    found += broken
    if not tensors or settings.get("peft_type", "LORA") != "LORA":
        return found
    known = read_base(under) if under else None
    found += adapter_keys.rules(folder / WEIGHTS, settings, tensors, known)
    return [*found, *adapter_values.rules(folder / WEIGHTS, tensors)]


def unservable(folder: Path, base: Path) -> list[str]:
    """Why vLLM's LoRA cannot serve an adapter on `base`; empty where it can."""
    return [
        finding.what + (f" ({finding.got})" if finding.got else "") for finding in errors(lint_adapter(folder, base))
    ]


def _files(folder: Path) -> list[Finding]:
    found = [*unreadable(folder / SETTINGS, "adapter-config", _AGAIN)]
    if not (folder / SETTINGS).is_file():
        found.append(Finding("adapter-config", "E", str(folder), f"has no {SETTINGS}", "", _AGAIN))
    elif not found and not opened(folder / SETTINGS):
        found.append(Finding("adapter-config", "E", str(folder / SETTINGS), "is empty", "", _AGAIN))
    if not (folder / WEIGHTS).is_file():
        found.append(_no_weights(folder))
    return found


def _no_weights(folder: Path) -> Finding:
    pickled = next((name for name in ("adapter_model.bin", "adapter_model.pt") if (folder / name).is_file()), "")
    what = f"has no {WEIGHTS}" + (", only pickled weights, which can run code when they are read" if pickled else "")
    return Finding("adapter-weights", "E", str(folder), what, pickled, f"{_AGAIN}, which writes safetensors")


def _header(path: Path) -> tuple[dict[str, TensorInfo], list[Finding]]:
    if not path.is_file():
        return {}, []
    try:
        tensors = read_header(path)
    except UserError as error:
        problem = error.problems[0]
        return {}, [Finding("adapter-weights", "E", problem.where, problem.what, problem.got, problem.fix)]
    empty = [] if tensors else [Finding("adapter-weights", "E", str(path), "holds no tensors", "", _AGAIN)]
    return tensors, empty


def _named_base(settings: dict[str, Any]) -> Path | None:
    """The base that the adapter names, where that is a folder of this machine."""
    name = settings.get("base_model_name_or_path")
    return Path(name) if isinstance(name, str) and name and (Path(name) / "config.json").is_file() else None
