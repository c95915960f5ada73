"""Attention over rows laid end to end: each row by itself, so that no work is spent between rows."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from peft import PeftModel
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from pipelines.train.packing import Layout

ROWS = "burnish_rows"
_CAUSAL_LAYERS = {"full_attention", "sliding_attention"}


def packs(model: PreTrainedModel | PeftModel) -> bool:
    """Whether the model keeps rows that lie in one sequence apart, by their positions.

    It does where all attention goes through transformers' attention interface. State that runs along the sequence
    (Mamba, linear attention) and biases by distance (ALiBi) would leak from row to row.
    """
    config = model.config.get_text_config()
    layers = set(getattr(config, "layer_types", None) or ())
    return bool(model._supports_attention_backend) and not model._is_stateful and layers <= _CAUSAL_LAYERS


def drops_out(model: PreTrainedModel | PeftModel) -> bool:
    """Whether anything in the model is random while it trains."""
    modules = any(isinstance(module, torch.nn.Dropout) and module.p > 0 for module in model.modules())
    return modules or bool(getattr(model.config.get_text_config(), "attention_dropout", 0))


def attend_by_rows(model: PreTrainedModel) -> bool:
    """Switch a model that packs from SDPA with a mask over all rows to SDPA row by row. False where that cannot be."""
    config = model.config.get_text_config()
    if config._attn_implementation != "sdpa" or getattr(config, "attention_chunk_size", None) or not packs(model):
        return False
    model.set_attn_implementation(ROWS)
    return True


def rows_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    layout: Layout,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention of each span over its prefix and itself.

    query [1, heads, T, d], key and value [1, kv heads, T, d] -> [1, T, heads, d].
    """
    lengths = [span.length for span in layout.spans]
    queries, keys, values = (torch.split(states, lengths, dim=2) for states in (query, key, value))
    outputs = []
    for number, (length, prefix) in enumerate(layout.spans):
        before = 0 if prefix is None else lengths[prefix]
        seen = [_seen(parts, number, prefix) for parts in (keys, values)]
        mask = _mask(length, before, sliding_window, query.device)
        outputs.append(sdpa_attention_forward(module, queries[number], *seen, mask, **options)[0])
    return torch.cat(outputs, dim=1), None


def _seen(parts: Sequence[torch.Tensor], number: int, prefix: int | None) -> torch.Tensor:
    return parts[number] if prefix is None else torch.cat([parts[prefix], parts[number]], dim=2)


@lru_cache(maxsize=64)
def _mask(length: int, prefix: int, window: int | None, device: torch.device) -> torch.Tensor | None:
    """Which keys a span sees, [1, 1, length, prefix + length]; None where plain causal attention says the same."""
    if not prefix and (window is None or length <= window):
        return None
    back = torch.arange(prefix, prefix + length, device=device)[:, None] - torch.arange(prefix + length, device=device)
    return ((back >= 0) & (back < (window or prefix + length)))[None, None]


AttentionInterface.register(ROWS, rows_attention)
