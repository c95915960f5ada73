"""Rules on `adapter_config.json`: what vLLM's LoRA computes, and what it refuses or drops without a word.

The source is vLLM 0.32, lora/peft_helper.py and config/lora.py.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.serving.findings import Finding
from pipelines.serving.lint.opened import mapping, number, whole

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The values that vLLM takes for --max-lora-rank."""
DEFAULT_RANK = 16
_MERGE = "Merge it into its base and serve the merged model"
_NOT_WEIGHTS = ("PROMPT", "P_TUNING", "PREFIX", "ADAPTION", "CPT", "CARTRIDGE")
_PLAIN_INITS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga", "true", "false")
_HEADS = ("classifier", "score")
_FEATURES = {
    "use_dora": ("adapter-dora", "is a DoRA adapter, which vLLM refuses"),
    "lora_bias": ("adapter-bias", "has biases on B, which vLLM refuses"),
    "trainable_token_indices": ("adapter-trained-tokens", "carries trained token rows, which vLLM refuses"),
    "alora_invocation_tokens": ("adapter-alora", "is an activated LoRA, which vLLM refuses"),
    "layer_replication": ("adapter-layer-replication", "replicates layers, which vLLM refuses"),
    "use_bdlora": ("adapter-variant", "is a block-diagonal LoRA, which vLLM refuses"),
    "use_qalora": ("adapter-variant", "is a QA-LoRA adapter, which vLLM refuses"),
    "kasa_config": ("adapter-variant", "is a KaSA adapter, which vLLM serves as a plain LoRA, that is wrongly"),
    "arrow_config": ("adapter-variant", "is routed by Arrow, which vLLM drops without a word"),
}


def rules(path: Path, settings: dict[str, Any]) -> list[Finding]:
    """What the settings of an adapter forbid. `path` is their file."""
    kind = settings.get("peft_type", "LORA")
    if kind != "LORA":
        what = "is no LoRA adapter, the only kind that vLLM serves"
        learned = any(part in str(kind) for part in _NOT_WEIGHTS)
        fix = "It changes no weights, and cannot be merged: train a LoRA" if learned else _MERGE
        return [Finding("adapter-not-lora", "E", str(path), what, str(kind), fix)]
    return [*_features(path, settings), *_inits(path, settings), *_numbers(path, settings), *_ranks(path, settings)]


def _features(path: Path, settings: dict[str, Any]) -> Iterator[Finding]:
    for key, (rule, what) in _FEATURES.items():
        if settings.get(key):
            yield Finding(rule, "E", str(path), what, f"{key}: {settings[key]}", _MERGE)
    if settings.get("bias", "none") != "none":
        what = "trains biases of the base, which vLLM refuses"
        yield Finding("adapter-bias", "E", str(path), what, f"bias: {settings['bias']}", _MERGE)
    saved = settings.get("modules_to_save") or []
    if whole_ones := [name for name in (saved if isinstance(saved, list) else [saved]) if name not in _HEADS]:
        what = "carries trained copies of whole modules, which vLLM refuses"
        got = "modules_to_save: " + ", ".join(map(str, whole_ones))
        yield Finding("adapter-modules-to-save", "E", str(path), what, got, _MERGE)
    if settings.get("fan_in_fan_out"):
        what = "fan_in_fan_out is set, which vLLM ignores: right only on a base that stores [in, out], such as GPT-2"
        yield Finding("adapter-fan-in-fan-out", "W", str(path), what, "", "Set it to false for linear layers")


def _inits(path: Path, settings: dict[str, Any]) -> Iterator[Finding]:
    init = settings.get("init_lora_weights", True)
    if isinstance(init, str) and init.lower() not in _PLAIN_INITS:
        what = "was initialised in a way that changed the weights of its base, which vLLM refuses"
        fix = "Convert it with PEFT's path_initial_model_for_weight_conversion, or merge it"
        yield Finding("adapter-init", "E", str(path), what, f"init_lora_weights: {init}", fix)


def _numbers(path: Path, settings: dict[str, Any]) -> Iterator[Finding]:
    rank, alpha, again = whole(settings.get("r")), number(settings.get("lora_alpha")), "Write what it was trained with"
    if rank is None or rank <= 0:
        what = "r must be a whole number above 0: vLLM refuses the adapter"
        yield Finding("adapter-rank", "E", str(path), what, str(settings.get("r")), again)
    if alpha is None:
        what = "lora_alpha must be a number: vLLM refuses the adapter"
        yield Finding("adapter-alpha", "E", str(path), what, str(settings.get("lora_alpha")), again)
    elif alpha == 0:
        what = "lora_alpha is 0: the adapter changes nothing"
        yield Finding("adapter-no-op", "E", str(path), what, "", again)
    if not settings.get("target_modules"):
        what = "names no target_modules, without which vLLM refuses it"
        yield Finding("adapter-targets", "E", str(path), what, "", "Name the modules that it has weights for")
    for key, value in mapping(settings.get("rank_pattern")).items():
        if whole(value) is None or value <= 0:
            what = "rank_pattern must give whole numbers above 0: vLLM refuses the adapter"
            yield Finding("adapter-rank", "E", str(path), what, f"{key}: {value}", again)


def _ranks(path: Path, settings: dict[str, Any]) -> Iterator[Finding]:
    highest = highest_rank(settings)
    if highest > RANKS[-1]:
        what = f"has a rank above {RANKS[-1]}, the most that vLLM serves"
        yield Finding("adapter-rank-too-high", "E", str(path), what, str(highest), _MERGE)
    elif highest > DEFAULT_RANK:
        what = f"has a rank above {DEFAULT_RANK}, vLLM's default: it is refused unless the server is told"
        fix = f"Serve with --max-lora-rank {max_lora_rank(highest)}"
        yield Finding("adapter-rank-over-default", "W", str(path), what, str(highest), fix)


def highest_rank(settings: dict[str, Any]) -> int:
    """The highest rank of any module, 0 where none is given."""
    ranks = [settings.get("r"), *mapping(settings.get("rank_pattern")).values()]
    return max((rank for value in ranks if (rank := whole(value)) is not None), default=0)


def max_lora_rank(rank: int) -> int:
    """The smallest value of --max-lora-rank that serves a rank, which must be at most 512."""
    return next(allowed for allowed in RANKS if allowed >= rank)
