"""Rules about tensors: those that the config asks for are there, no others, in the shapes it says.

vLLM serves uninitialised memory for a Linear or embedding weight that no file holds, and says nothing.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from pipelines.errors import few
from pipelines.hf.folder import CONFIG
from pipelines.serving.findings import Finding
from pipelines.serving.lint import skeleton, tied
from pipelines.serving.lint.packed import packed, whole_names
from pipelines.serving.lint.skeleton import Difference, Shape
from pipelines.serving.lint.weights_files import Stored

_HEADS = ("lm_head.weight", "embed_out.weight")
_ROWS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight", *_HEADS)
_LEFTOVER = re.compile(r"\.(lora_[A-Za-z_]+|base_layer|modules_to_save|original_module)\.")
_WRAPPER = re.compile(r"base_model\.model\.|_orig_mod\.|module\.|_fsdp_wrapped_module\.|_forward_module\.")
_LAYER = re.compile(r"\b(?:layers|h|blocks)\.(\d+)\.")
_BELONG = "Check that config.json and the weights belong together, or export again"
# vLLM's loaders of these put the prefix back.
_PREFIX_OPTIONAL = frozenset({"gpt2", "bloom"})


def rules(folder: Path, config: Mapping[str, Any], stored: Stored) -> list[Finding]:
    """What is wrong with the tensors of a folder, given its config; nothing where files or config are too broken."""
    found = list(_named_in_training(folder, stored))
    name = skeleton.class_name(config) if skeleton.knows(config.get("model_type")) else None
    if found or name is None or not stored.whole or not skeleton.of_sane_size(config):
        return found
    try:
        # A config can make a model's class raise anything.
        model = skeleton.build(config, name)
        if packed(stored.tensors):
            return [*_unpacked(folder, model, stored)]
        return [*tied.rules(folder, skeleton.ties(model), stored), *_against(folder, model, stored)]
    except ImportError as error:
        what, fix = "needs a package that is not installed: its weights are not checked", "Install it and run again"
        return [Finding("weights-unchecked", "W", str(folder / CONFIG), what, _short(error), fix)]
    except Exception as error:
        what = "transformers cannot build the model, or find the weights in the files"
        return [Finding("config-unbuildable", "E", str(folder / CONFIG), what, _short(error), "Correct what it names")]


def _named_in_training(folder: Path, stored: Stored) -> Iterator[Finding]:
    """Names that a wrapper of the training left: transformers loads random weights in their place."""
    if leftover := sorted(name for name in stored.tensors if _LEFTOVER.search(name)):
        what = f"{len(leftover)} tensors are of an adapter that was not merged"
        fix = "Merge it before saving: model.merge_and_unload().save_pretrained(...)"
        yield Finding("peft-leftovers", "E", str(folder), what, few(leftover), fix)
    elif wrapped := sorted(name for name in stored.tensors if _WRAPPER.match(name)):
        what = f"{len(wrapped)} tensors are named with the prefix of a wrapper, and no engine finds them"
        fix = "Save the model inside the wrapper, or take the prefix from the names"
        yield Finding("wrapper-prefix", "E", str(folder), what, few(wrapped), fix)


def _against(folder: Path, model: PreTrainedModel, stored: Stored) -> Iterator[Finding]:
    """The files against a model of the config."""
    files = {name: place.info.shape for name, place in stored.tensors.items()}
    prefix, kind, asked = f"{model.base_model_prefix}.", model.config.model_type, set(model.state_dict())
    bare = [name for name in files if prefix + name in asked]
    found = skeleton.difference(model, files)
    heads = [name for name in found.missing if name.endswith(_HEADS)]
    if found.renamed and bare and kind not in _PREFIX_OPTIONAL:
        what = f"{len(bare)} tensors lack the prefix {prefix} in their names: transformers adds it, vLLM does not start"
        fix = f"Save the whole {type(model).__name__}, not the model inside it"
        yield Finding("no-prefix", "E", str(folder), what, few(sorted(bare)), fix)
    if heads:
        what = 'has no head, and "tie_word_embeddings" is not true: vLLM serves uninitialised memory'
        fix = f'Set "tie_word_embeddings": true in {CONFIG} if the embedding is the head, or save the head'
        yield Finding("no-head", "E", str(folder), what, few(heads), fix)
    yield from _missing(folder, [name for name in found.missing if name not in heads], files)
    yield from _extra(folder, found, files)
    yield from _shapes(folder, found)


def _unpacked(folder: Path, model: PreTrainedModel, stored: Stored) -> Iterator[Finding]:
    """Quantised files by their names alone: how each scheme stores a tensor is the matter of rules of its own."""
    names = whole_names(stored.tensors)
    missing = skeleton.absent(model, names)
    # Of a scheme with names of its own nothing is known here.
    if 2 * len(missing) < len(model.state_dict()):
        yield from _missing(folder, missing, dict.fromkeys(names, ()))


def _missing(folder: Path, missing: list[str], files: Mapping[str, Shape]) -> Iterator[Finding]:
    if missing:
        what = f"{len(missing)} tensors that the config asks for are missing: vLLM serves uninitialised memory for them"
        fix = _layers_fix(missing, files, "more") or _BELONG
        yield Finding("missing-weights", "E", str(folder), what, few(missing), fix)


def _extra(folder: Path, found: Difference, files: Mapping[str, Shape]) -> Iterator[Finding]:
    if found.extra:
        rest = {name: shape for name, shape in files.items() if name not in set(found.extra)}
        what = f"{len(found.extra)} tensors are none that the config asks for: vLLM does not start"
        fix = _layers_fix(found.extra, rest, "fewer") or _BELONG
        yield Finding("extra-weights", "E", str(folder), what, few(found.extra), fix)


def _layers_fix(odd: list[str], rest: Mapping[str, Shape], says: str) -> str:
    """The fix where the odd tensors are all of layers beyond those of the others."""
    layers = [int(match[1]) for name in odd if (match := _LAYER.search(name))]
    others = [int(match[1]) for name in rest if (match := _LAYER.search(name))]
    if not others or len(layers) < len(odd) or min(layers) <= max(others):
        return ""
    return f"{CONFIG} names {says} layers than the files hold: correct num_hidden_layers, or export again"


def _shapes(folder: Path, found: Difference) -> Iterator[Finding]:
    rows = [entry for entry in found.shapes if entry[0].endswith(_ROWS) and entry[1][1:] == entry[2][1:]]
    if rows:
        name, held, asked = rows[0]
        what, fix = f"vocab_size is not the number of rows of {name}", f'Set "vocab_size": {held[0]}'
        got = f"vocab_size {asked[0]}, {held[0]} rows"
        yield Finding("vocab-size", "E", str(folder / CONFIG), what, got, fix)
    if others := [entry for entry in found.shapes if entry not in rows]:
        name, held, asked = others[0]
        what = f"{len(others)} tensors have another shape than the config says"
        yield Finding("weight-shapes", "E", str(folder), what, f"{name}: {list(held)}, not {list(asked)}", _BELONG)


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
