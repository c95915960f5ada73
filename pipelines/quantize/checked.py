"""A quantised folder against the export it was made from, on the fixed prompts, and whether it is still that model."""

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file

from pipelines.errors import wrong
from pipelines.serving.environments import Environment
from pipelines.serving.findings import Finding
from pipelines.serving.scripts import ask

_WHERE = "formats"
_MUCH = 0.1
_WHOLE = "gguf_f16"
"""The one level that may say exactly what the export says: a model in float16 loses nothing."""


class Distance(NamedTuple):
    """How far a level is from its export.

    `kl`: KL(export || level) in nats a token; `agreement`: share of tokens whose likeliest next one is the same;
    `context`: nats a token that the export's predictions are from their own mean, which is what it makes of a context.
    """

    kl: float
    agreement: float
    context: float


def compressed_logits(environment: Environment, folder: Path, prompts: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    """Logits of a compressed-tensors folder in a fresh process of its maker's environment: [tokens, vocabulary] each.

    UserError where it cannot be loaded whole.
    """
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "logits.safetensors"
        request = {"folder": str(folder), "prompts": [list(prompt) for prompt in prompts], "out": str(out)}
        ask(environment, "compressed_logits.py", request, "prompts")
        rows = load_file(out)
        return [rows[str(at)].clone() for at in range(len(prompts))]


def distance(export: Sequence[torch.Tensor], level: Sequence[torch.Tensor]) -> Distance:
    """Of two sets of logits of the same prompts, [tokens, vocabulary] each."""
    before = torch.cat(list(export)).double().log_softmax(-1)
    after = torch.cat(list(level)).double().log_softmax(-1)
    mean = torch.logsumexp(before, 0) - math.log(len(before))
    same = before.argmax(-1) == after.argmax(-1)
    return Distance(_kl(before, after), float(same.double().mean()), _kl(before, mean))


def _kl(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one.exp() * (one - other)).sum(-1).mean())


def judged(found: Distance, level: str) -> list[Finding]:
    """What is to be told of the distance. UserError where the level is not the export's model any more, or is the same.

    A level as far from the export as a guess that knows no context says nothing about the text in front of it: the
    bound is the model's own, with no number to choose.
    """
    got = f"KL {found.kl:.3g} nats a token, the likeliest token agrees on {found.agreement:.0%}"
    if not found.kl < found.context:
        what = f"{level} is garbage: further from the export than a guess without context, {found.context:.3g} nats"
        raise wrong(_WHERE, what, got, "Take a level with more bits, or other calibration rows")
    if found.kl == 0 and level != _WHOLE:
        raise wrong(_WHERE, f"{level} says exactly what the export says: nothing was quantised", got, "Make it again")
    if found.kl < _MUCH * found.context:
        return []
    what = f"{level} loses over a tenth of what the model makes of its context"
    return [Finding("quantised-loss", "W", _WHERE, what, got, "Measure it before you ship it, or take more bits")]
