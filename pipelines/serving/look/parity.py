"""A few fixed prompts and what a model says about the next token of each: the numbers that must survive an export."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedModel

from pipelines.errors import wrong
from pipelines.hf.chat import render
from pipelines.hf.models import load_model, model_device

PROMPTS = (
    "What is the capital of France?",
    "The meeting on 12 March moves from 9:30 to 14:45. Say so in one sentence.",
    'Return this as it is: {"name": "Zoë", "tags": ["a", "b"]}',
)

# Relative root mean square of logits that differ by the order of sums alone; 1e-5 was seen in float32.
_SUMMATION, _SUMMATION_16 = 1e-3, 2e-2


class Difference(NamedTuple):
    """Two sets of logits compared: the largest absolute difference, and the root mean square relative to the first."""

    largest: float
    relative: float


def prompt_ids(tokenizer: Any) -> list[list[int]]:
    """The prompts as the tokenizer writes them: in its chat template, where it has one."""
    if not tokenizer.chat_template:
        return plain_ids(tokenizer)
    texts = [render(tokenizer, [{"role": "user", "content": prompt}], add_generation_prompt=True) for prompt in PROMPTS]
    return [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]


def plain_ids(tokenizer: Any) -> list[list[int]]:
    """The prompts as plain text, with what the tokenizer itself puts around it."""
    return [tokenizer(prompt)["input_ids"] for prompt in PROMPTS]


@torch.inference_mode()
def logits(model: PreTrainedModel, prompts: list[list[int]]) -> list[torch.Tensor]:
    """Logits in float32 on the CPU, [tokens, vocabulary] for each prompt; prompts run one by one, without padding."""
    rows = [torch.tensor([prompt], device=model.device) for prompt in prompts]
    return [model(input_ids=row).logits[0].float().cpu() for row in rows]


def logprobs(logits: torch.Tensor, prompt: list[int]) -> list[float]:
    """Natural log of the probability of each prompt token given those before it; the first token is left out.

    `logits` is [tokens, vocabulary]; rows beyond the prompt's last token but one say nothing about it.
    """
    said = logits[: len(prompt) - 1].float().log_softmax(-1)
    return [float(value) for value in said.gather(1, torch.tensor(prompt[1:]).unsqueeze(1)).squeeze(1)]


def all_logprobs(logits: Sequence[torch.Tensor], prompts: Sequence[list[int]]) -> list[list[float]]:
    """The same of every prompt."""
    return [logprobs(rows, prompt) for rows, prompt in zip(logits, prompts, strict=True)]


def scale(logits: Sequence[torch.Tensor]) -> float:
    """The largest logit in size, which errors of rounding grow with."""
    return max(float(rows.abs().max()) for rows in logits)


def exact_logprobs(folder: Path, prompts: Sequence[list[int]]) -> list[list[float]]:
    """Log-probabilities of the prompts by the weights of a folder, computed in float32 whatever their type."""
    return all_logprobs(folder_logits(folder, list(prompts), "float32"), prompts)


def folder_logits(folder: Path, prompts: list[list[int]], dtype: str) -> list[torch.Tensor]:
    """Logits of the model in a folder, its weights cast to `dtype`; the model is gone from memory afterwards."""
    return logits(aligned(load_model(folder, dtype, model_device())), prompts)


def aligned(model: PreTrainedModel) -> PreTrainedModel:
    """The model with its weights moved out of the mapped file, so that sums do not depend on where they lay in it."""
    for weight in model.parameters():
        weight.data = weight.data.clone()
    return model


def summation(dtype: str) -> float:
    """The largest relative difference of logits that the order of sums explains, for weights of that type."""
    return _SUMMATION if dtype == "float32" else _SUMMATION_16


def compare(before: list[torch.Tensor], after: list[torch.Tensor]) -> Difference:
    """How far `after` is from `before`. UserError where a number is NaN or infinite."""
    for rows in (before, after):
        if not all(bool(torch.isfinite(row).all()) for row in rows):
            raise wrong("export", "the model's logits hold NaN or infinite values", "", "Train or merge it again")
    width = min(before[0].shape[-1], after[0].shape[-1])
    pairs = [(one[:, :width], other[:, :width]) for one, other in zip(before, after, strict=True)]
    largest = max(float((one - other).abs().max()) for one, other in pairs)
    gap = sum(float((one - other).double().square().sum()) for one, other in pairs)
    size = sum(float(one.double().square().sum()) for one, _ in pairs)
    return Difference(largest, (gap / size) ** 0.5 if size else 0.0)
