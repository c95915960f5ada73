"""What adapter_config.json says: which adapters can be merged, and the rank and scale of each of their products.

Papers: Hu et al. 2021, "LoRA", arXiv 2106.09685: delta W = (alpha / r) B A; Kalajdzievski 2023, "rsLoRA", arXiv
2312.03732: delta W = (alpha / sqrt(r)) B A.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from pipelines.errors import Problem

Settings = Mapping[str, Any]

RETRAIN = "Train the adapter without it, or merge it with peft first and use the model"
_PLAIN_INITS = (True, False, None, "gaussian", "eva", "orthogonal")
_IGNORED = {
    "auto_mapping", "base_model_name_or_path", "ensure_weight_tying", "eva_config", "exclude_modules", "inference_mode",
    "init_lora_weights", "layers_pattern", "layers_to_transform", "loftq_config", "lora_dropout", "megatron_core",
    "peft_type", "peft_version", "qalora_group_size", "revision", "runtime_config", "target_modules", "task_type",
}  # fmt: skip
_READ = {
    "r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "fan_in_fan_out", "bias", "use_dora",
    "modules_to_save",
}  # fmt: skip
_REFUSED = {
    "lora_bias": "has biases on B",
    "trainable_token_indices": "carries trained token rows",
    "target_parameters": "targets parameters rather than modules",
    "use_qalora": "is a QA-LoRA adapter, which pools its inputs",
    "layer_replication": "replicates layers",
    "alora_invocation_tokens": "is an activated LoRA, which is off until its tokens appear",
}


def config_problems(name: str, settings: Settings) -> list[Problem]:
    """Settings under which the adapter `name` computes what no fixed weights do, or what is not known here."""
    if settings.get("peft_type") != "LORA":
        fix = "Merge it with peft and use the model"
        return [Problem(name, "is not a LoRA adapter", str(settings.get("peft_type")), fix)]
    found = [
        Problem(name, what, f"{key}: {settings[key]}", RETRAIN) for key, what in _REFUSED.items() if settings.get(key)
    ]
    if settings.get("init_lora_weights", True) not in _PLAIN_INITS:
        fix = "Convert it with path_initial_model_for_weight_conversion, or merge it with peft first and use the model"
        got = f"init_lora_weights: {settings['init_lora_weights']}"
        found.append(Problem(name, "was initialised in a way that changes the base weights", got, fix))
    for key in sorted(settings.keys() - _IGNORED - _READ - _REFUSED.keys()):
        if settings[key]:
            found.append(Problem(name, f"has a setting that is not known here: {key}", str(settings[key]), RETRAIN))
    return found


def rank_of(settings: Settings, module: str) -> int:
    """The rank of a module's product."""
    return int(_pattern(settings.get("rank_pattern"), module, settings.get("r", 8)))


def scale_of(settings: Settings, module: str) -> float:
    """What a module's B A is multiplied by."""
    rank = rank_of(settings, module)
    alpha = _pattern(settings.get("alpha_pattern"), module, settings.get("lora_alpha", 8))
    return alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank)


def is_saved(settings: Settings, module: str) -> bool:
    """Whether the adapter holds a trained copy of a whole module, matched as peft does: by the end of its name."""
    return any(module.endswith(end) for end in settings.get("modules_to_save") or ())


def _pattern(patterns: Mapping[str, float] | None, module: str, default: float) -> float:
    """The value of the first pattern (as in peft, a regular expression for the name or its end) that fits."""
    return next((value for key, value in (patterns or {}).items() if re.match(rf"(.*\.)?({key})$", module)), default)
