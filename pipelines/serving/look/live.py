"""An adapter at work on the model that it was trained from, without being merged: what a merge must reproduce."""

from pathlib import Path
from typing import NamedTuple

import torch
from peft import PeftModel

from pipelines.errors import wrong
from pipelines.hf.models import load_model, model_device
from pipelines.serving.look.parity import Difference, aligned, compare, logits, summation

# Merged weights are rounded once more than those that the adapter works beside.
_ROUNDED = 5e-2


class Live(NamedTuple):
    """Logits of the model alone and with the adapter, float32, [tokens, vocabulary] of each prompt."""

    parent: list[torch.Tensor]
    adapted: list[torch.Tensor]


class Merged(NamedTuple):
    """How far the adapter moves its model, how far merged weights are from it, and whether they are the same."""

    moved: Difference
    apart: Difference
    alike: bool


def merged(live: Live, after: list[torch.Tensor], exact: bool) -> Merged:
    """Logits of merged weights beside the adapter at work; `exact` where no weight was ever rounded to 16 bits.

    Merged weights that are no nearer to the adapter than the model without it have lost the change.
    """
    moved, apart = compare(live.parent, live.adapted), compare(live.adapted, after)
    near = apart.relative <= (summation("float32") if exact else _ROUNDED)
    return Merged(moved, apart, near and apart.relative < moved.relative)


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
