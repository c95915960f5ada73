"""Rules about what a config says the model is: a causal language model that transformers and vLLM know."""

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from pipelines.hf.folder import CONFIG
from pipelines.serving.findings import Finding
from pipelines.serving.lint import skeleton
from pipelines.serving.lint.opened import listing, mapping, whole

_LANGUAGE = "Export a model of a class that is named ...ForCausalLM"


@cache
def served() -> frozenset[str]:
    """The architectures that vLLM generates text with, by `scripts/vllm_architectures.py`."""
    text = (files(__package__) / "vllm_architectures.txt").read_text(encoding="utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))


def rules(folder: Path, config: Mapping[str, Any]) -> list[Finding]:
    """What the config has wrong about the model as a whole; with none of severity E a model can be built of it."""
    found = [*_kind(folder, config), *_named(folder, config), *_code(folder, config), *_numbers(folder, config)]
    return [*found, *_router(folder, config)]


def _kind(folder: Path, config: Mapping[str, Any]) -> Iterator[Finding]:
    kind, where = config.get("model_type"), str(folder / CONFIG)
    if not isinstance(kind, str) or not kind:
        yield Finding("no-model-type", "E", where, "names no model_type", "", "Copy config.json of the base again")
    elif not skeleton.knows(kind):
        what = "the installed transformers does not know this model_type: its weights cannot be checked"
        yield Finding("unknown-model-type", "E", where, what, kind, "Update transformers, or correct model_type")
    elif config.get("is_encoder_decoder") is True or skeleton.class_name(config) is None:
        yield Finding("not-causal", "E", where, "is no causal language model", kind, _LANGUAGE)


def _router(folder: Path, config: Mapping[str, Any]) -> Iterator[Finding]:
    """DeepSeek-V3 routes by biased sigmoids, which transformers takes for granted and vLLM does not."""
    wanted = {"topk_method": "noaux_tc", "scoring_func": "sigmoid"}
    lost = [f'"{key}": "{value}"' for key, value in wanted.items() if config.get(key) is None]
    if config.get("model_type") == "deepseek_v3" and lost:
        what = "does not say how experts are chosen: vLLM fails, or takes others than transformers"
        yield Finding("router-unnamed", "E", str(folder / CONFIG), what, "", f"Add {', '.join(lost)}")


def _named(folder: Path, config: Mapping[str, Any]) -> Iterator[Finding]:
    where, names = (
        str(folder / CONFIG),
        [name for name in listing(config.get("architectures")) if isinstance(name, str)],
    )
    fix = f'Set "architectures": ["{_usual(config)}"]'
    if not names:
        yield Finding("no-architectures", "W", where, "names no architectures: engines guess them", "", fix)
    elif names[0].startswith("Peft"):
        what = "names a wrapper of PEFT as its architecture: vLLM does not know it"
        yield Finding("peft-architecture", "E", where, what, names[0], fix)
    elif _of_another_type(names[0], config):
        what = "names the architecture of another model_type: vLLM serves the one, transformers the other"
        got, again = f"{names[0]} and {config['model_type']}", "Copy config.json of the model it was trained from"
        yield Finding("architecture-differs", "E", where, what, got, again)
    elif names[0] not in served():
        if names[0] not in skeleton.CAUSAL | skeleton.WRAPPED:
            what = "names an architecture that generates no text: vLLM refuses it or serves it for something else"
            yield Finding("not-causal", "E", where, what, names[0], fix)
        else:
            what = "vLLM has no implementation of its own of this architecture, and falls back to transformers'"
            fix = "Serve it with --model-impl transformers, and measure its speed"
            yield Finding("not-in-vllm", "W", where, what, names[0], fix)


def _of_another_type(name: str, config: Mapping[str, Any]) -> bool:
    """Whether the architecture is known as that of other model_types, and this one as that of another architecture."""
    kind, types = config.get("model_type"), skeleton.types_of(name)
    return (
        bool(types) and kind not in types and skeleton.knows(kind) and bool(skeleton.class_name({"model_type": kind}))
    )


def _usual(config: Mapping[str, Any]) -> str:
    plain = {"model_type": config.get("model_type")}
    return (skeleton.class_name(plain) if skeleton.knows(plain["model_type"]) else None) or "LlamaForCausalLM"


def _code(folder: Path, config: Mapping[str, Any]) -> Iterator[Finding]:
    if config.get("auto_map"):
        where, what = str(folder / CONFIG), "asks to run code of its own (auto_map): engines need --trust-remote-code"
        if skeleton.knows(config.get("model_type")):
            yield Finding("remote-code", "W", where, what, "", "Delete auto_map: transformers knows this model_type")
        else:
            yield Finding("remote-code", "E", where, what, "", "Use a model that transformers knows")


def _numbers(folder: Path, config: Mapping[str, Any]) -> Iterator[Finding]:
    """Sizes that must divide each other, where the config states them."""
    text, where = mapping(config.get("text_config")) or config, str(folder / CONFIG)
    hidden, heads, groups = (
        whole(text.get(name)) for name in ("hidden_size", "num_attention_heads", "num_key_value_heads")
    )
    for name in ("hidden_size", "num_attention_heads", "num_key_value_heads", "num_hidden_layers", "vocab_size"):
        size = whole(text.get(name))
        if size is not None and (size < 1 or (name == "num_hidden_layers" and size > skeleton.MOST_PARTS)):
            yield Finding("sizes", "E", where, f"{name} is no size that a model has", str(size), "Correct it")
    if (
        hidden
        and heads
        and heads > 0
        and hidden % heads
        and text.get("head_dim") is None
        and "qk_rope_head_dim" not in text
    ):
        what = "hidden_size is no multiple of num_attention_heads, and no head_dim is named"
        yield Finding(
            "sizes", "E", where, what, f"{hidden} and {heads}", "Correct num_attention_heads, or add head_dim"
        )
    if heads and groups and groups > 0 and heads % groups:
        what = "num_attention_heads is no multiple of num_key_value_heads: vLLM does not start"
        yield Finding("sizes", "E", where, what, f"{heads} and {groups}", "Correct num_key_value_heads")
