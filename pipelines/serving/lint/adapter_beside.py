"""Rules on what stands beside an adapter's weights: the base that it names and serves on, and words of its own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.hf.folder import CONFIG, TEMPLATE, TOKENIZER
from pipelines.serving.findings import Finding
from pipelines.serving.lint.opened import listing, mapping, opened, says_path, whole
from pipelines.serving.lint.vocabulary import read_words
from pipelines.serving.lint.words_template import template_of

_NAME = "base_model_name_or_path"
_SAME = ("model_type", "hidden_size", "num_hidden_layers", "vocab_size", "intermediate_size")
_MERGE = "Merge it into its base and serve the merged model"
_MOST_WORDS = 258048
_WITHOUT_LORA = (
    "BloomForCausalLM", "Cohere2MoeForCausalLM", "DbrxForCausalLM", "DeepseekV32ForCausalLM", "FalconForCausalLM",
    "FalconMambaForCausalLM", "Gemma3nForCausalLM", "GPT2LMHeadModel", "GPTJForCausalLM", "KimiLinearForCausalLM",
    "Mamba2ForCausalLM", "MambaForCausalLM", "MiMoV2FlashForCausalLM", "OrionForCausalLM", "StableLmForCausalLM",
    "Step3TextForCausalLM", "Zamba2ForCausalLM",
)  # fmt: skip
"""Architectures that vLLM 0.32 serves, but without adapters."""


def rules(folder: Path, settings: dict[str, Any], base: Path | None, under: Path | None) -> list[Finding]:
    """`base` is the model that was told, `under` the one at hand: told or named by the adapter."""
    found = [*_named(folder, settings, base)]
    if under is not None:
        found += [*_refused(under), *_quantised(under), *_words(folder, under)]
    return found


def _named(folder: Path, settings: dict[str, Any], base: Path | None) -> Iterator[Finding]:
    where, name = str(folder / "adapter_config.json"), settings.get(_NAME)
    if says_path(name):
        what = f"{_NAME} is a path of the machine it was trained on, which means nothing elsewhere"
        yield Finding("adapter-base-path", "W", where, what, str(name), "Write the name of the base as the hub has it")
    if not name:
        yield Finding("adapter-base-unnamed", "W", where, f"{_NAME} is empty", "", "Write the name of its base")
    if base is not None and isinstance(name, str) and (Path(name) / CONFIG).is_file():
        one, other = opened(Path(name) / CONFIG), opened(base / CONFIG)
        if odd := [key for key in _SAME if one.get(key) != other.get(key)]:
            what = f"was trained on another model than it is served on: {', '.join(odd)} differ"
            yield Finding("adapter-other-base", "E", where, what, name, f"Serve it on {name}")
    if base is not None and _quantised_name(name):
        what = "was trained on a 4-bit base: on other weights its answers differ by what the rounding made"
        fix = "Compare answers on both, or serve the base as it was trained on"
        yield Finding("adapter-4-bit-base", "W", where, what, str(name), fix)


def _quantised_name(name: object) -> bool:
    return isinstance(name, str) and any(word in name.lower() for word in ("4bit", "-bnb-", "-awq", "-gptq"))


def _refused(base: Path) -> Iterator[Finding]:
    config = opened(base / CONFIG)
    kinds = [name for name in listing(config.get("architectures")) if name in _WITHOUT_LORA]
    if kinds:
        what = "has a base that vLLM serves without adapters alone"
        yield Finding("adapter-architecture", "E", str(base / CONFIG), what, kinds[0], _MERGE)
    size = whole(config.get("vocab_size", mapping(config.get("text_config")).get("vocab_size")))
    if size is not None and size > _MOST_WORDS:
        what = f"has a base of more than {_MOST_WORDS} tokens, on which vLLM serves no adapter"
        yield Finding("adapter-vocabulary", "E", str(base / CONFIG), what, str(size), _MERGE)


def _quantised(base: Path) -> Iterator[Finding]:
    method = mapping(opened(base / CONFIG).get("quantization_config")).get("quant_method")
    if method == "bitsandbytes":
        what = "has a base in bitsandbytes format, which vLLM 0.32 does not read"
        yield Finding("adapter-4-bit-base", "E", str(base / CONFIG), what, str(method), "Serve it on the 16-bit base")


def _words(folder: Path, base: Path) -> Iterator[Finding]:
    """vLLM speaks to every adapter with the tokenizer and the template of the base."""
    own, template = read_words(folder), template_of(folder)
    theirs = read_words(base)
    if own is not None and theirs is not None and own.ids != theirs.ids:
        odd = sorted(own.ids.keys() ^ theirs.ids.keys()) or sorted(t for t in own.ids if own.ids[t] != theirs.ids[t])
        what = "brings a tokenizer that differs from the base's, and vLLM uses the base's"
        got = f"{len(odd)} tokens, such as {odd[0]}"
        yield Finding(
            "adapter-tokenizer", "W", str(folder / TOKENIZER), what, got, "Serve the base with this tokenizer"
        )
    if template is not None and template != template_of(base):
        what = "brings a chat template that differs from the base's, and vLLM uses the base's"
        fix = f"Serve with --chat-template {TEMPLATE} of this folder"
        yield Finding("adapter-template", "W", str(folder), what, "", fix)
