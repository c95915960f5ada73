"""Config files that transformers 4, transformers 5 and the engines built on either read alike.

Transformers 5 renamed keys, and version 4 falls back silently where it misses one: without `rope_theta` it takes 10000.
So both spellings are written, and both say the same.
"""

from collections.abc import Mapping
from typing import Any

from pipelines.errors import wrong

_UNSHIPPED = ("_name_or_path", "_model_name_or_path", "quantization_config")
_LOCAL = ("backend", "chat_template", "is_local", "local_files_only", "name_or_path")
_ENDLESS = 1e20
# Qwen3-MoE's name was the first of these and is the second; Mixtral's always was the second.
_EXPERTS = ("num_experts", "num_local_experts")
_ROUTERS = {"deepseek_v3": {"topk_method": "noaux_tc", "scoring_func": "sigmoid"}}
"""What transformers' models of a type do whatever their config says, and vLLM only where it says so."""


def dual_config(config: Mapping[str, Any], dtype: str, tied: bool) -> dict[str, Any]:
    """`config.json` with the keys of both versions; `tied` where the head is the embedding."""
    kept = {key: value for key, value in config.items() if key not in _UNSHIPPED}
    common = {"dtype": dtype, "torch_dtype": dtype, "tie_word_embeddings": tied}
    shipped = _both(kept) | common
    if "text_config" in kept:
        shipped["text_config"] = _both(kept["text_config"]) | common
    return dict(sorted(shipped.items()))


def _both(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a config, and beside those that were renamed their other name."""
    experts = next((config[name] for name in _EXPERTS if name in config), None)
    router = _ROUTERS.get(str(config.get("model_type")), {})
    return {**dict.fromkeys(_EXPERTS if experts else (), experts), **router, **config, **dual_rope(config)}


def dual_rope(config: Mapping[str, Any]) -> dict[str, Any]:
    """The rotary embedding in both spellings; nothing for a model without one. UserError where the two disagree."""
    new = config.get("rope_parameters")
    if new is None:
        return {"rope_parameters": _new_rope(config)} if "rope_theta" in config else {}
    old = _old_rope(new) | (_phi3_rope(new) if new.get("rope_type") == "longrope" and _is_phi3(config) else {})
    for key, value in old.items():
        if config.get(key) is not None and config[key] != value:
            raise wrong(
                "config.json", f"{key} and rope_parameters disagree", f"{config[key]} and {value}", "Correct one"
            )
    return old


def _new_rope(config: Mapping[str, Any]) -> dict[str, Any]:
    scaling = dict(config.get("rope_scaling") or {})
    kind = scaling.pop("type", "default")
    partial = {key: config[key] for key in ("partial_rotary_factor",) if key in config}
    return {"rope_type": kind, **partial, **scaling, "rope_theta": config["rope_theta"]}


def _old_rope(new: Mapping[str, Any]) -> dict[str, Any]:
    """Layer types with ropes of their own (Gemma 3) had two bases in version 4: a global and a local one."""
    if "full_attention" in new:
        local = new.get("sliding_attention", {})
        base = {"rope_local_base_freq": local["rope_theta"]} if "rope_theta" in local else {}
        return _old_rope(new["full_attention"]) | base
    scaling = {key: value for key, value in new.items() if key not in ("rope_theta", "partial_rotary_factor")}
    partial = {key: new[key] for key in ("partial_rotary_factor",) if key in new}
    return {
        "rope_theta": new["rope_theta"],
        "rope_scaling": None if scaling.get("rope_type", "default") == "default" else scaling,
        **partial,
    }


def _is_phi3(config: Mapping[str, Any]) -> bool:
    return config.get("model_type") == "phi3"


def _phi3_rope(new: Mapping[str, Any]) -> dict[str, Any]:
    """Phi-3 in version 4 takes these three fields and no other, and the original length beside them."""
    length = {key: new[key] for key in ("original_max_position_embeddings",) if key in new}
    factors = {key: new[key] for key in ("short_factor", "long_factor")}
    return {"rope_scaling": {"type": "longrope", **factors}, **length}


def dual_tokenizer_config(settings: Mapping[str, Any], template: str | None, positions: int | None) -> dict[str, Any]:
    """`tokenizer_config.json` with a class that both versions know, the template inside, and a true maximum length.

    `positions` is the longest sequence that the model takes, in tokens.
    """
    shipped = {key: value for key, value in settings.items() if key not in _LOCAL}
    shipped["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(extra := shipped.get("extra_special_tokens"), list):
        # Version 4 wants an object under this name, and knows the list under its older one.
        del shipped["extra_special_tokens"]
        shipped["additional_special_tokens"] = extra
    if template is not None:
        shipped["chat_template"] = template
    length = settings.get("model_max_length")
    if positions is not None and (length is None or length > _ENDLESS):
        shipped["model_max_length"] = positions
    return dict(sorted(shipped.items()))
