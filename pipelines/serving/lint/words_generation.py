"""Rules on `generation_config.json`: its sampling values are the defaults of whoever serves the folder."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.hf.folder import CONFIG, GENERATION
from pipelines.serving.findings import Finding
from pipelines.serving.lint.opened import ids, number, opened

_DEFAULTS = (
    "repetition_penalty", "presence_penalty", "frequency_penalty", "temperature", "top_k", "top_p", "min_p",
    "max_new_tokens",
)  # fmt: skip
"""What vLLM 0.32 takes over (config/model.py, get_diff_sampling_param)."""

_NEUTRAL = {"repetition_penalty": 1, "presence_penalty": 0, "frequency_penalty": 0, "temperature": 1, "top_p": 1}
_RANGES = {
    "repetition_penalty": ("above 0", 1e-30, math.inf),
    "presence_penalty": ("from -2 to 2", -2, 2),
    "frequency_penalty": ("from -2 to 2", -2, 2),
    "temperature": ("from 0 to 2", 0, 2),
    "top_k": ("-1, 0 or more", -1, math.inf),
    "top_p": ("above 0 and at most 1", 1e-30, 1),
    "min_p": ("from 0 to 1", 0, 1),
    "max_new_tokens": ("at least 1", 1, math.inf),
}
_DO_SAMPLE = ("temperature", "top_k", "top_p", "min_p")


def rules(folder: Path) -> list[Finding]:
    """What is wrong with, or worth knowing of, the defaults that a folder is served with."""
    path = folder / GENERATION
    if not path.is_file():
        what = "has no generation_config.json: engines sample at temperature 1 and stop at config.json's EOS alone"
        fix = f"Write eos_token_id, with the token that ends a turn, into {GENERATION}"
        return [Finding("no-generation-config", "W", str(folder), what, "", fix)]
    settings = opened(path)
    return [*_types(folder, settings), *_refused(path, settings), *_told(path, settings), *_sampling(path, settings)]


def _types(folder: Path, settings: dict[str, Any]) -> Iterator[Finding]:
    for path, said in ((folder / GENERATION, settings), (folder / CONFIG, opened(folder / CONFIG))):
        for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
            value = said.get(key)
            if value is not None and (not ids(value) or len(ids(value)) != (len(value) if type(value) is list else 1)):
                fix = "Write the token's id as a number, or for eos_token_id a list of them"
                yield Finding("id-no-number", "E", str(path), f"{key} is no token id", str(value), fix)


def _refused(path: Path, settings: dict[str, Any]) -> Iterator[Finding]:
    for key, (allowed, low, high) in _RANGES.items():
        value = settings.get(key)
        if value is None:
            continue
        given = number(value)
        if given is None or not math.isfinite(given) or not low <= given <= high:
            what = f"{key} must be {allowed}: every request that does not set it is refused"
            yield Finding("sampling-refused", "E", str(path), what, str(value), f"Correct or remove {key}")


def _told(path: Path, settings: dict[str, Any]) -> Iterator[Finding]:
    values = {key: settings[key] for key in _DEFAULTS if settings.get(key) is not None}
    set_here = {key: value for key, value in values.items() if _NEUTRAL.get(key) != value}
    if set_here:
        what = "sets defaults that apply to every request that does not set them, evaluations included"
        got = ", ".join(f"{key} {value}" for key, value in set_here.items())
        fix = "Keep them if they are meant; to ignore them serve with --generation-config vllm"
        yield Finding("sampling-defaults", "W", str(path), what, got, fix)


def _sampling(path: Path, settings: dict[str, Any]) -> Iterator[Finding]:
    named = [key for key in _DO_SAMPLE if settings.get(key) is not None and _NEUTRAL.get(key) != settings[key]]
    zero = settings.get("temperature") == 0
    if settings.get("do_sample") is True and zero:
        what = "do_sample is true at temperature 0: transformers refuses to generate, vLLM is greedy"
        yield Finding("sampling-conflict", "W", str(path), what, "", "Set do_sample to false and drop temperature")
    elif settings.get("do_sample") is not True and named and not zero:
        what = "do_sample is not true, yet sampling values are set: transformers is greedy, vLLM samples with them"
        fix = "Set do_sample to true, or drop the values and set temperature to 0 in requests"
        yield Finding("sampling-conflict", "W", str(path), what, ", ".join(named), fix)
