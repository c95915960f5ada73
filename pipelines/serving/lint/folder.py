"""Everything that is wrong with a folder that is to be served, read from headers and configs in seconds.

Whatever is broken in a folder is a finding; the rules go on with the rest. What each engine does with a folder that
breaks one stands in `docs/serving.md`.
"""

from pathlib import Path

from pipelines.hf.folder import CONFIG
from pipelines.serving.findings import Finding
from pipelines.serving.lint import architecture, files, numbers, packed, tied, weights, words
from pipelines.serving.lint.opened import opened, unreadable
from pipelines.serving.lint.weights_files import stored

_ADAPTER = "adapter_config.json"


def lint(folder: Path, *, base: Path | None = None, beside: bool = True) -> list[Finding]:
    """Every finding about the folder of a model, quantised or not, or with `base` of an adapter to that model.

    Errors come first. Without `beside` nothing is said of what lies beside the weights: licence, leftovers of training.
    """
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        return [Finding("no-folder", "E", str(folder), what, "", "Name the folder that holds config.json")]
    found = [*files.readable(folder), *(files.beside(folder) if beside else [])]
    adapter = (folder / _ADAPTER).is_file() and not (folder / CONFIG).is_file()
    found += _adapter(folder, base) if adapter else _model(folder, base)
    return sorted(dict.fromkeys(found), key=lambda finding: finding.severity)


def _adapter(folder: Path, base: Path | None) -> list[Finding]:
    if base is None:
        what, fix = "is an adapter, not a model: nothing serves it alone", "Name its base too, or merge it into that"
        return [Finding("adapter-as-model", "E", str(folder), what, "", fix)]
    return []


def _model(folder: Path, base: Path | None) -> list[Finding]:
    if base is not None:
        what, fix = "is no adapter, and a base is named for it", f"Name a folder with {_ADAPTER}, or leave out the base"
        return [Finding("model-as-adapter", "E", str(folder), what, "", fix)]
    held = stored(folder)
    found = [*held.findings, *words.rules(folder)]
    if broken := _unreadable_config(folder):
        return [*found, *broken]
    config = opened(folder / CONFIG)
    found += [*tied.flags(folder, config), *files.mixed(folder), *packed.rules(folder, config, held.tensors)]
    found += [*numbers.rules(folder, config, held.tensors), *architecture.rules(folder, config)]
    return [*found, *weights.rules(folder, config, held)]


def _unreadable_config(folder: Path) -> list[Finding]:
    if not (folder / CONFIG).is_file():
        what = "has no config.json: it is no model folder"
        return [Finding("no-config", "E", str(folder), what, "", "Name the folder that holds config.json")]
    fix = "Copy config.json of the model it was trained from, or export again"
    return unreadable(folder / CONFIG, "unreadable-file", fix)
