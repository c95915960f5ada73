"""Attention over rows laid end to end: each row by itself, so that no work is spent between rows."""

from typing import Any

import torch
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

ROWS = "burnish_rows"
_CAUSAL_LAYERS = {"full_attention", "sliding_attention"}


def packs(model: PreTrainedModel) -> bool:
    """Whether the model keeps rows that lie in one sequence apart, by their positions.

    It does where all attention goes through transformers' attention interface. State that runs along the sequence
    (Mamba, linear attention) and biases by distance (ALiBi) would leak from row to row.
    """
    config = model.config.get_text_config()
    layers = set(getattr(config, "layer_types", None) or ())
    return bool(model._supports_attention_backend) and not model._is_stateful and layers <= _CAUSAL_LAYERS


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
    spans: list[int],
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention in each span: query [1, heads, T, d], key and value [1, kv heads, T, d] -> [1, T, heads, d]."""
    parts = zip(spans, *(torch.split(states, spans, dim=2) for states in (query, key, value)), strict=True)
    outputs = [
        sdpa_attention_forward(module, q, k, v, _window(span, sliding_window, q.device), **options)[0]
        for span, q, k, v in parts
    ]
    return torch.cat(outputs, dim=1), None


def _window(span: int, width: int | None, device: torch.device) -> torch.Tensor | None:
    """The mask [1, 1, span, span] of a sliding window of `width` keys; None where plain causal attention will do."""
    if width is None or span <= width:
        return None
    at = torch.arange(span, device=device)
    back = at[:, None] - at[None, :]
    return ((back >= 0) & (back < width))[None, None]


AttentionInterface.register(ROWS, rows_attention)
