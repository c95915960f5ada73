"""Losses and gradients of packed rows against the model's own loss, one row at a time."""

import copy

import numpy as np
import pytest
import torch
from transformers import (
    BloomConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GraniteConfig,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    MixtralConfig,
    Qwen2Config,
    Qwen3Config,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING
from trl.trainer.utils import add_fused_lm_head

from pipelines.train import trainer
from pipelines.train.attention import attend_by_rows, packs
from pipelines.train.packing import Row, pack
from pipelines.train.trainer import token_losses
from tests.unit.train.rows import row

SHAPE = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
}
CONFIGS = {
    "llama": LlamaConfig(**SHAPE),
    "qwen2": Qwen2Config(**SHAPE, use_sliding_window=True, sliding_window=5, max_window_layers=1),
    "qwen3": Qwen3Config(**SHAPE),
    "mistral-window": MistralConfig(**SHAPE, sliding_window=5),
    "gemma2-softcap": Gemma2Config(**SHAPE, sliding_window=5, final_logit_softcapping=2.0, attn_logit_softcapping=5.0),
    "gemma3": Gemma3TextConfig(**SHAPE, sliding_window=5),
    "granite-scaled": GraniteConfig(**SHAPE, logits_scaling=4.0),
    "mixtral": MixtralConfig(**SHAPE, num_local_experts=4, sliding_window=None),
    "gpt2": GPT2Config(vocab_size=97, n_embd=32, n_layer=2, n_head=4, n_positions=64),
    "bloom-alibi": BloomConfig(vocab_size=97, hidden_size=32, n_layer=2, n_head=4),
    "mamba": MambaConfig(vocab_size=97, hidden_size=32, num_hidden_layers=2, state_size=4),
}


def model_of(name):
    torch.manual_seed(0)
    config = copy.deepcopy(CONFIGS[name])
    model = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]._from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(3).add_(0.02 * torch.randn_like(weight))
    return model.eval()


def some_rows():
    made = [row(number, length, loss, 97) for number, length, loss in ((1, 12, 4), (2, 7, 7), (3, 20, 9), (4, 3, 1))]
    return [Row(np.array(one.input_ids), np.array(one.labels)) for one in made]


def alike_rows():
    """Rows of which three begin with one prompt, two with another, and one with none of them."""
    one, other = list(range(10, 18)), list(range(30, 42))
    made = [(one, 5, 2), (other, 9, 4), (one, 1, 1), ([], 6, 3), (one, 8, 8), (other, 3, 1)]
    rows = []
    for number, (prompt, length, loss) in enumerate(made):
        end = row(number, length, loss, 97)
        labels = [-100] * len(prompt) + end.labels
        rows.append(Row(np.array(prompt + end.input_ids), np.array(labels)))
    return rows


def plain(model, rows):
    """Sum of the losses and their gradients, each row in a forward pass of its own."""
    model.zero_grad()
    losses = [
        model(input_ids=torch.tensor(r.input_ids)[None], labels=torch.tensor(r.labels)[None]).loss * len(r.targets)
        for r in rows
    ]
    sum(losses).backward()
    return sum(losses).item(), {name: weight.grad.clone() for name, weight in model.named_parameters()}


def without_layout(inputs):
    return {name: value for name, value in inputs.items() if name != "layout"}


def packed(model, rows, by_rows, share=False):
    """The same through `token_losses`, in one forward pass where the model allows it."""
    model.zero_grad()
    total = 0.0
    for group in [rows] if packs(model) else [[one] for one in rows]:
        inputs = pack(group, [False] * len(group), share)._asdict()
        losses = token_losses(model, inputs if by_rows else without_layout(inputs), 97, True)
        losses.sum().backward()
        total += losses.sum().item()
    return total, {name: weight.grad.clone() for name, weight in model.named_parameters()}


def assert_same(one, other):
    assert one[0] == pytest.approx(other[0], rel=1e-5)
    for name, gradient in one[1].items():
        scale = gradient.abs().max().item()
        assert torch.allclose(gradient, other[1][name], rtol=1e-4, atol=1e-4 * scale + 1e-7), name


@pytest.mark.parametrize("name", CONFIGS)
def test_token_losses_any_architecture_equals_its_own_loss(name):
    model, rows = model_of(name), some_rows()
    expected = plain(model, rows)
    assert_same(expected, packed(model, rows, attend_by_rows(model)))


@pytest.mark.parametrize("name", ["llama", "qwen2", "mistral-window"])
def test_token_losses_with_a_mask_over_all_rows_equals_rows_apart(name):
    model, rows = model_of(name), some_rows()
    assert_same(plain(model, rows), packed(model, rows, by_rows=False))


@pytest.mark.parametrize("name", ["llama", "gemma2-softcap", "granite-scaled"])
def test_token_losses_in_tiles_equals_logits_held(name, monkeypatch):
    model, rows = model_of(name), some_rows()
    by_rows = attend_by_rows(model)
    held = packed(model, rows, by_rows)
    add_fused_lm_head(model)
    monkeypatch.setattr(trainer, "FUSED_ABOVE", 0)
    assert_same(held, packed(model, rows, by_rows))


@pytest.mark.parametrize("name", ["llama", "qwen2", "mistral-window", "gemma3", "mixtral", "granite-scaled"])
def test_token_losses_shared_prompt_computed_once_equals_rows_apart(name):
    model, rows = model_of(name), alike_rows()
    expected = plain(model, rows)
    assert attend_by_rows(model)
    assert_same(expected, packed(model, rows, by_rows=True, share=True))


def test_packs_models_with_state_along_the_sequence_do_not():
    assert [name for name in CONFIGS if not packs(model_of(name))] == ["bloom-alibi", "mamba"]


def test_token_losses_without_rows_give_zero_gradients():
    model = model_of("llama")
    inputs = pack([], [])._asdict()
    token_losses(model, without_layout(inputs), 97, True).sum().backward()
    assert all(not weight.grad.any() for weight in model.parameters())
