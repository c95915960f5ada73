"""What an adapter's base has, from its headers and config: which modules, and the shapes of their weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.errors import UserError
from pipelines.hf.folder import CONFIG
from pipelines.hf.safetensors import tensor_map
from pipelines.serving.lint.opened import listing, mapping, opened, whole

_DENSE = ("F32", "F16", "BF16", "F64", "F8_E4M3", "F8_E5M2", "I8")
_FUSED_EXPERTS = (
    "GptOssForCausalLM", "Qwen3_5MoeForCausalLM", "Qwen3_5MoeForConditionalGeneration",
    "Qwen3VLMoeForConditionalGeneration",
)  # fmt: skip
_ENDS = (".weight", ".weight_packed", ".qweight", ".weight_scale", ".weight_scale_inv")


class Base(NamedTuple):
    """`shapes` by module: those of its weight, or None where it is packed; `parts` are the names of further tensors."""

    config: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...] | None]
    parts: frozenset[str]

    @property
    def layers(self) -> int | None:
        text = mapping(self.config.get("text_config"))
        return whole(self.config.get("num_hidden_layers", text.get("num_hidden_layers")))

    @property
    def fused_experts(self) -> bool:
        """Whether vLLM takes one product for all experts of a layer, as PEFT makes them of fused experts."""
        return any(name in _FUSED_EXPERTS for name in listing(self.config.get("architectures")))

    @property
    def wrapped(self) -> bool:
        """Whether it is a model around a language model, whose modules are named otherwise than its tensors."""
        return "text_config" in self.config


def read_base(folder: Path) -> Base | None:
    """The modules of a model; None where its weights cannot be read, which the rules on weights tell."""
    try:
        tensors = {name: place.info for name, place in tensor_map(folder).items()}
    except (UserError, OSError):
        return None
    shapes: dict[str, tuple[int, ...] | None] = {}
    for name, info in sorted(tensors.items()):
        end = next((end for end in _ENDS if name.endswith(end)), None)
        if end is not None:
            dense = end == ".weight" and info.dtype in _DENSE and len(info.shape) == 2
            shapes.setdefault(name.removesuffix(end), info.shape if dense else None)
    embedding = next((module for module in shapes if module.endswith("embed_tokens")), None)
    if embedding is not None and not any(module.endswith("lm_head") for module in shapes):
        shapes["lm_head"] = shapes[embedding]  # a head that is the embedding is stored once
    return Base(opened(folder / CONFIG), shapes, frozenset(tensors))
