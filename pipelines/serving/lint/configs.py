"""Rules on `config.json` where its versions, its parts and the files say two things: dtypes, layers, names, leaks."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipelines.hf.folder import CARD, CONFIG, DTYPE_NAMES
from pipelines.serving.findings import Finding
from pipelines.serving.lint import rope
from pipelines.serving.lint.opened import listing, mapping, opened, says_path, whole
from pipelines.serving.lint.weights_files import stored

_SAME = ("vocab_size", "hidden_size", "num_hidden_layers", "max_position_embeddings")


def rules(folder: Path, beside: bool = True) -> list[Finding]:
    """What a config has wrong, or what some readers of it miss. Without `beside` nothing is said of a missing card."""
    config = opened(folder / CONFIG)
    if not config:
        return []
    path, text = folder / CONFIG, mapping(config.get("text_config"))
    found = [*rope.rules(path, config), *(rope.rules(path, text) if text else [])]
    found += [*_dtypes(folder, config), *_layers(path, text or config), *_parts(path, config, text)]
    found += [*_cache(path, text or config), *_leaks(path, config)]
    return [*found, *(_card(folder) if beside else [])]


def _dtypes(folder: Path, config: Mapping[str, Any]) -> Iterator[Finding]:
    new, old, held = config.get("dtype"), config.get("torch_dtype"), _held(folder)
    where, fix = str(folder / CONFIG), f"Set dtype and torch_dtype to {held or 'the type of the weights'}"
    if new is None and old is None:
        yield Finding("no-dtype", "W", where, "names no dtype: each engine chooses its own", "", fix)
    elif old is None:
        what = "names its dtype in the spelling of transformers 5 alone: older versions load float32"
        yield Finding("dtype-in-one-spelling", "W", where, what, str(new), fix)
    elif new is not None and new != old:
        what = "dtype and torch_dtype differ: versions load different types"
        yield Finding("dtypes-differ", "W", where, what, f"{new} and {old}", fix)
    stated = str(new if new is not None else old).removeprefix("torch.")
    if held and (new or old) and stated != held and not config.get("quantization_config"):
        what = "states another dtype than the weights have: engines cast them when they load"
        yield Finding("dtype-not-of-weights", "W", where, what, f"{stated}, weights {held}", fix)


def _held(folder: Path) -> str | None:
    """The type of most of the matrices."""
    size: Counter[str] = Counter()
    for place in stored(folder).tensors.values():
        if len(place.info.shape) > 1:
            size[place.info.dtype] += place.info.elements
    return DTYPE_NAMES.get(size.most_common(1)[0][0]) if size else None


def _layers(path: Path, config: Mapping[str, Any]) -> Iterator[Finding]:
    kinds, layers, window = listing(config.get("layer_types")), whole(config.get("num_hidden_layers")), "sliding_window"
    if kinds and layers is not None and len(kinds) != layers:
        what = "layer_types and num_hidden_layers differ: transformers 5 and vLLM refuse the config"
        fix = "Give layer_types one entry a layer"
        yield Finding("layer-types", "E", str(path), what, f"{len(kinds)} and {layers}", fix)
    given = config.get(window)
    if given is not None and (whole(given) is None or given < 0):
        what, fix = f"{window} is no length", f"Set {window} to the window it was trained with, or to null"
        yield Finding("sliding-window", "E", str(path), what, str(given), fix)
    elif not given and (config.get("use_sliding_window") is True or "sliding_attention" in kinds):
        what = f"asks for sliding attention and names no {window}: it attends to everything, or fails"
        yield Finding("sliding-window", "E", str(path), what, "", f"Set {window} to the window it was trained with")


def _parts(path: Path, config: Mapping[str, Any], text: Mapping[str, Any]) -> Iterator[Finding]:
    for key in _SAME if text else ():
        if key in config and key in text and config[key] != text[key]:
            what = f"{key} differs from that of text_config: some readers take one, some the other"
            got, fix = f"{config[key]} and {text[key]}", f"Delete the outer {key}, or correct it"
            yield Finding("text-config-differs", "W", str(path), what, got, fix)


def _cache(path: Path, config: Mapping[str, Any]) -> Iterator[Finding]:
    if config.get("use_cache") is False:
        what = "use_cache is false, as training leaves it: transformers generates many times slower, vLLM ignores it"
        yield Finding("no-cache", "W", str(path), what, "", 'Set "use_cache": true')


def _leaks(path: Path, config: Mapping[str, Any]) -> Iterator[Finding]:
    for key in ("_name_or_path", "_model_name_or_path"):
        if says_path(config.get(key)):
            what = f"{key} is a path of the machine that it was made on"
            yield Finding("local-path", "W", str(path), what, config[key], f"Delete {key}")


def _card(folder: Path) -> Iterator[Finding]:
    if not (folder / CARD).is_file():
        what = f"has no {CARD}: who finds it knows neither its base nor what it is for"
        yield Finding("no-card", "W", str(folder), what, "", f"Write {CARD}, with base_model and license in its head")
