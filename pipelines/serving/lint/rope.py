"""Rules on rotary embeddings: two spellings of them, which versions of transformers read differently.

Transformers 4 reads `rope_theta` and `rope_scaling` and takes 10000 where the first is missing. Transformers 5 reads
`rope_parameters`, but `rope_scaling` instead where there is one, and then `rope_theta` beside it.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipelines.serving.findings import Finding
from pipelines.serving.lint.opened import listing, mapping, number

_NEEDED = {
    "default": (), "linear": ("factor",), "dynamic": ("factor",), "yarn": ("factor",),
    "longrope": ("short_factor", "long_factor"), "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
    "proportional": (), "mrope": (), "axial": (), "telechat3-yarn": ("factor",),
}  # fmt: skip
_OLD_NAMES = {"su": "longrope"}
_BOTH = "Write the same values in both spellings: rope_parameters, and rope_theta with rope_scaling"


def rules(path: Path, config: Mapping[str, Any]) -> list[Finding]:
    """What the rotary embedding of a config, or of its text_config, has wrong. `path` is the file."""
    new, old = mapping(config.get("rope_parameters")), mapping(config.get("rope_scaling"))
    found = [*_lost(path, config, new, old)]
    if new and not found:
        main = mapping(new.get("full_attention")) or new
        found += [*_differing(path, config, main, old, mapping(new.get("sliding_attention")))]
        found += _alone(path, config, main, old) if not found else []
    used = [part for part in ([old] if old else _parts(new)) if part]
    return [*found, *(finding for part in used for finding in _scaling(path, config, part))]


def _parts(new: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """One set of values, or one a layer type."""
    nested: list[Mapping[str, Any]] = [mapping(value) for key, value in new.items() if key.endswith("_attention")]
    return nested or [new]


def _kind(values: Mapping[str, Any]) -> str:
    name = str(values.get("rope_type") or values.get("type") or "default")
    return _OLD_NAMES.get(name, name)


def _lost(path: Path, config: Mapping[str, Any], new: Mapping[str, Any], old: Mapping[str, Any]) -> Iterator[Finding]:
    theta = new.get("rope_theta")
    if old and theta is not None and "rope_theta" not in old and config.get("rope_theta") is None:
        what = "rope_scaling stands in front of rope_parameters, whose rope_theta nobody reads: the default is taken"
        yield Finding("rope-theta-lost", "E", str(path), what, str(theta), f'Add "rope_theta": {theta}')


def _differing(
    path: Path, config: Mapping[str, Any], new: Mapping[str, Any], old: Mapping[str, Any], local: Mapping[str, Any]
) -> Iterator[Finding]:
    told = [("rope_theta", config.get("rope_theta"), new.get("rope_theta"))]
    told += [("rope_local_base_freq", config.get("rope_local_base_freq"), local.get("rope_theta"))]
    told += [("partial_rotary_factor", config.get("partial_rotary_factor"), new.get("partial_rotary_factor"))]
    told += [
        (f"rope_scaling.{key}", value, new.get(key)) for key, value in old.items() if key not in ("type", "rope_type")
    ]
    odd = [f"{key} {one}, not {other}" for key, one, other in told if None not in (one, other) and one != other]
    # Whoever reads the old spelling finds rope_theta, and takes a missing rope_scaling for none.
    if (old or config.get("rope_theta") is not None) and _kind(old) != _kind(new):
        odd.append(f"rope_type {_kind(old)}, not {_kind(new)}")
    if odd:
        what = "the two spellings of its rotary embedding differ: versions compute different models"
        yield Finding("rope-differs", "E", str(path), what, "; ".join(odd), _BOTH)


def _alone(path: Path, config: Mapping[str, Any], new: Mapping[str, Any], old: Mapping[str, Any]) -> Iterator[Finding]:
    if config.get("rope_theta") is None and not old and new.get("rope_theta") is not None:
        what = "names its rope_theta in rope_parameters alone: transformers 4 takes its default, without a word"
        got = f"rope_theta {new['rope_theta']}, rope_type {_kind(new)}"
        yield Finding("rope-in-one-spelling", "W", str(path), what, got, _BOTH)


def _scaling(path: Path, config: Mapping[str, Any], values: Mapping[str, Any]) -> Iterator[Finding]:
    kind, again = _kind(values), "Copy the rotary embedding of the base's config.json"
    if kind not in _NEEDED:
        what = "names a rope_type that no engine knows"
        yield Finding("rope-type", "E", str(path), what, kind, again)
        return
    if missing := [key for key in _NEEDED[kind] if values.get(key) is None]:
        what = f"rope_type {kind} lacks what it needs: transformers 5 and vLLM refuse the config"
        yield Finding("rope-incomplete", "E", str(path), what, ", ".join(missing), again)
    short, long = listing(values.get("short_factor")), listing(values.get("long_factor"))
    if len(short) != len(long):
        what = "short_factor and long_factor have different lengths"
        yield Finding("rope-incomplete", "E", str(path), what, f"{len(short)} and {len(long)}", again)
    yield from _lengths(path, config, values, kind)


def _lengths(path: Path, config: Mapping[str, Any], values: Mapping[str, Any], kind: str) -> Iterator[Finding]:
    factor, longest = number(values.get("factor")), number(config.get("max_position_embeddings"))
    first = number(values.get("original_max_position_embeddings", config.get("original_max_position_embeddings")))
    if factor is not None and factor < 1:
        what, fix = "the factor of its rotary embedding is below 1: it shortens what the model takes", "Correct it"
        yield Finding("rope-factor", "W", str(path), what, str(factor), fix)
    if first is None or longest is None:
        return
    got = f"{first:.0f} and {longest:.0f}"
    if first > longest:
        what = "original_max_position_embeddings is above max_position_embeddings: the model is cut short"
        yield Finding("rope-length", "W", str(path), what, got, "Set max_position_embeddings to the scaled length")
    elif kind == "yarn" and factor and longest not in (first, first * factor):
        what = "max_position_embeddings is not original_max_position_embeddings times factor: vLLM serves the latter"
        fix = f"Set max_position_embeddings to {first * factor:.0f}"
        yield Finding("rope-length", "W", str(path), what, f"{got}, factor {factor:g}", fix)
