"""Which type each tensor of a GGUF file gets at a level: the mixtures that llama.cpp writes under the same names.

The rules are those of `src/llama-quant.cpp` in llama.cpp (MIT); files made by them are what users know as Q4_K_M.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

DEFAULTS = {"gguf_q8_0": "Q8_0", "gguf_q6_k": "Q6_K", "gguf_q5_k_m": "Q5_K", "gguf_q4_k_m": "Q4_K"}
"""The type of a level that most of its tensors get."""
_MORE_BITS = ("gguf_q5_k_m", "gguf_q4_k_m")
_BLOCK = {"Q4_K": 256, "Q5_K": 256, "Q6_K": 256, "Q8_0": 32, "Q5_0": 32, "Q5_1": 32}
_FALLBACK = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
_UNUSUAL = "F16"

# In the order in which they are tried: a name falls into the first kind that it contains.
_KINDS = (
    ("attn_qkv.weight", "value"),
    ("attn_kv_b.weight", "value"),
    ("attn_v.weight", "value"),
    ("attn_k.weight", "key"),
    ("attn_q.weight", "query"),
    ("attn_output.weight", "attention output"),
    ("ffn_up", "up"),
    ("ffn_gate", "gate"),
    ("ffn_down", "down"),
)
_KEPT = (
    "_norm.weight", "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight", "altup", "laurel", "per_layer_model_proj",
    "ssm_conv1d", "shortconv.conv.weight", "indexer.k_proj.weight", "indexer.q_proj.weight", "time_mix_first.weight",
    "time_mix_w0.weight", "time_mix_w1.weight", "time_mix_w2.weight", "time_mix_v0.weight", "time_mix_v1.weight",
    "time_mix_v2.weight", "time_mix_a0.weight", "time_mix_a1.weight", "time_mix_a2.weight", "time_mix_g1.weight",
    "time_mix_g2.weight", "time_mix_decay_w1.weight", "time_mix_decay_w2.weight", "time_mix_lerp_fused.weight",
    "attn_rel_b.weight", ".position_embd", "position_embd.weight", "token_types.weight",
)  # fmt: skip
_LAYER = re.compile(r"blk\.(\d+)\.")


class Shape(NamedTuple):
    """What the rules ask of a model: its architecture in llama.cpp's name, experts (0: none), layers and heads."""

    architecture: str
    experts: int
    layers: int
    heads: int
    key_heads: int


def mixture(level: str, tensors: Mapping[str, Sequence[int]], model: Shape) -> dict[str, str]:
    """The type of every tensor that is quantised at `level`; tensors not in it keep theirs.

    `tensors` maps the names in the GGUF file to shapes whose last number is the length of a row, in weights.
    """
    types: dict[str, str] = {}
    tied = "output.weight" not in tensors
    values = sum(_kind(name, tied) == "value" for name in tensors)
    seen = {"value": 0, "down": 0}
    for name in sorted(tensors, key=_order):
        if not is_quantised(name, tensors[name]):
            continue
        kind = _kind(name, tied)
        asked = DEFAULTS[level]
        if kind == "output":
            asked = _of_output(asked, tensors[name][-1], model)
        elif kind == "value":
            asked = _of_value(level, seen["value"], values, model)
        elif kind == "down":
            asked = _of_down(level, _layer(name) if model.experts > 1 else seen["down"], model)
        elif kind in ("key", "attention output"):
            asked = _beside_experts(asked, kind, model)
        if kind in seen:
            seen[kind] += 1
        types[name] = _fitting(asked, tensors[name][-1])
    return types


def is_quantised(name: str, shape: Sequence[int]) -> bool:
    """Whether the tensor loses bits at all: matrices do, but for norms, routers and a few small ones."""
    return len(shape) > 1 and name.endswith("weight") and not any(part in name for part in _KEPT)


def use_more_bits(layer: int, layers: int) -> bool:
    """The first and the last eighth of the layers, and every third between."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def _kind(name: str, tied: bool) -> str:
    if name == "output.weight":
        return "output"
    if name in ("token_embd.weight", "per_layer_token_embd.weight"):
        return "output" if tied else "embedding"
    return next((kind for part, kind in _KINDS if part in name), "other")


def _of_output(asked: str, width: int, model: Shape) -> str:
    """The head, and the embedding where it is the head as well: wrong by a little, wrong in every token."""
    if model.architecture == "falcon" or width % _BLOCK[asked]:
        return "Q8_0"
    return "Q8_0" if asked == "Q8_0" else "Q6_K"


def _of_value(level: str, place: int, places: int, model: Shape) -> str:
    """Values suffer most from lost bits, and with grouped heads or few experts they are small besides."""
    if model.experts == 8:
        return "Q8_0"
    if level in _MORE_BITS and use_more_bits(place, places):
        return "Q6_K"
    return "Q5_K" if DEFAULTS[level] == "Q4_K" and _is_70b(model) else DEFAULTS[level]


def _of_down(level: str, layer: int, model: Shape) -> str:
    more = use_more_bits(layer, model.layers)
    if level == "gguf_q4_k_m" and model.architecture == "falcon":
        return "Q6_K" if layer < model.layers // 16 else "Q5_K" if more else "Q4_K"
    return "Q6_K" if level in _MORE_BITS and more else DEFAULTS[level]


def _beside_experts(asked: str, kind: str, model: Shape) -> str:
    """Eight experts make the attention a small share of the model."""
    if model.experts != 8:
        return asked
    if kind == "key":
        return "Q8_0"
    return "Q5_K" if asked == "Q4_K" and model.architecture != "falcon" else asked


def _is_70b(model: Shape) -> bool:
    """Llama 2 70B and its like, whose eight value heads serve sixty-four queries."""
    return (
        model.layers == 80
        and model.key_heads < model.heads
        and model.architecture in ("llama", "qwen2", "qwen2vl", "deci")
    )


def _fitting(asked: str, width: int) -> str:
    """The type asked for, or the next that takes rows of this length."""
    if width % _BLOCK[asked] == 0:
        return asked
    smaller = _FALLBACK.get(asked)
    return smaller if smaller and width % _BLOCK[smaller] == 0 else _UNUSUAL


def _order(name: str) -> tuple[int, str]:
    """Layers count in the order of their numbers; what belongs to none comes first."""
    found = _LAYER.match(name)
    return (int(found[1]) if found else -1, name)


def _layer(name: str) -> int:
    return _order(name)[0]
