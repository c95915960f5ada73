"""Everything that is wrong with a folder that is to be served, read from headers and configs in seconds.

Whatever is broken in a folder is a finding; the rules go on with the rest. What each engine does with a folder that
breaks one stands in `docs/serving.md`.
"""

from pathlib import Path

from pipelines.hf.folder import CONFIG
from pipelines.serving.findings import Finding
from pipelines.serving.lint import architecture, configs, files, gguf, numbers, packed, quantised, tied, weights, words
from pipelines.serving.lint.adapter import SETTINGS, lint_adapter
from pipelines.serving.lint.opened import opened, unreadable
from pipelines.serving.lint.weights_files import stored

_TOKENIZER = "tokenizer-does-not-load"
_UNBUILT = {"config-unbuildable", "unknown-model-type", "rope-type"}


def lint(folder: Path, *, base: Path | None = None, beside: bool = True) -> list[Finding]:
    """Every finding about a model, quantised or not, about GGUF files, or with `base` about an adapter to that model.

    Errors come first. Without `beside` nothing is said of what lies beside the weights: card, licence, leftovers.
    """
    if folder.is_file() and folder.suffix == ".gguf":
        return gguf.rules([folder])
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        return [Finding("no-folder", "E", str(folder), what, "", "Name the folder that holds config.json")]
    found = [*files.readable(folder), *(files.beside(folder) if beside else []), *_inside(folder, base, beside)]
    return sorted(dict.fromkeys(map(_printable, found)), key=lambda finding: finding.severity)


def _printable(finding: Finding) -> Finding:
    """Names in broken files can hold half a character, which no terminal takes."""
    where, what, got, fix = (part.encode("utf-8", "replace").decode() for part in finding.problem)
    return Finding(finding.rule, finding.severity, where, what, got, fix)


def _inside(folder: Path, base: Path | None, beside: bool) -> list[Finding]:
    converted = sorted(folder.glob("*.gguf"))
    if (folder / SETTINGS).is_file() and not (folder / CONFIG).is_file():
        return [*_alone(folder, base), *lint_adapter(folder, base)]
    if converted and not any(folder.glob("*.safetensors")):
        return gguf.rules(converted)
    return _model(folder, beside)


def _alone(folder: Path, base: Path | None) -> list[Finding]:
    if base is not None:
        return []
    what, fix = (
        "is an adapter, not a model: nothing serves it alone",
        "Name its base with --base, or merge it into that",
    )
    return [Finding("adapter-as-model", "E", str(folder), what, "", fix)]


def _model(folder: Path, beside: bool) -> list[Finding]:
    held = stored(folder)
    found = [*held.findings, *words.rules(folder)]
    if broken := _unreadable_config(folder):
        return [*(one for one in found if one.rule != _TOKENIZER), *broken]
    config = opened(folder / CONFIG)
    found += [*tied.flags(folder, config), *files.mixed(folder), *packed.rules(folder, config, held.tensors)]
    found += [*numbers.rules(folder, config, held.tensors), *architecture.rules(folder, config)]
    found += [*configs.rules(folder, beside), *quantised.rules(folder)]
    found += weights.rules(folder, config, held)
    # The tokenizer's class reads the config: what is wrong there is no reason to save the tokenizer again.
    return [one for one in found if one.rule != _TOKENIZER or not _UNBUILT & {each.rule for each in found}]


def _unreadable_config(folder: Path) -> list[Finding]:
    if not (folder / CONFIG).is_file():
        what = "has no config.json: it is no model folder"
        return [Finding("no-config", "E", str(folder), what, "", "Name the folder that holds config.json")]
    fix = "Copy config.json of the model it was trained from, or export again"
    return unreadable(folder / CONFIG, "unreadable-file", fix)
