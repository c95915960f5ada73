"""An adapter at work on the model that it was trained from, without being merged: what a merge must reproduce."""

from pathlib import Path
from typing import NamedTuple

import torch
from peft import PeftModel

from pipelines.errors import wrong
from pipelines.hf.models import load_model, model_device
from pipelines.serving.look.parity import aligned, logits


class Live(NamedTuple):
    """Logits of the model alone and with the adapter, float32, [tokens, vocabulary] of each prompt."""

    parent: list[torch.Tensor]
    adapted: list[torch.Tensor]


def live_logits(parent: Path, adapter: Path, prompts: list[list[int]], dtype: str) -> Live:
    """The model in a folder with its weights cast to `dtype`, then with the adapter in float32 on top.

    UserError where the adapter does not fit the model.
    """
    model = aligned(load_model(parent, dtype, model_device()))
    before = logits(model, prompts)
    try:
        adapted = PeftModel.from_pretrained(model, adapter, local_files_only=True).eval()
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        says = next(iter(str(error).strip().splitlines()), type(error).__name__)
        fix = "Name the model that it was trained from"
        raise wrong(adapter.name, "does not fit the model that it is put on", says[:200], fix) from error
    return Live(before, logits(adapted, prompts))
