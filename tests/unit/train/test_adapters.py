"""Where adapters go and what is random in a model."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from pipelines.train.adapters import target_problems, with_adapters
from pipelines.train.attention import drops_out
from pipelines.train.config import Lora

MODULES = ["", "lm_head", "model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj", "model.norm"]


@pytest.mark.parametrize(
    ("targets", "wrong"),
    [
        ("all-linear", []),
        (("q_proj", "up_proj"), []),
        (r".*\.q_proj", []),
        ("q_proj", ["q_proj"]),
        (("q_proj", "query"), ["query"]),
        (("proj",), ["proj"]),
        (("lm_head",), ["lm_head"]),
    ],
)
def test_target_problems_name_each_target_without_a_module(targets, wrong):
    assert [problem.got for problem in target_problems(MODULES, targets)] == wrong


@pytest.mark.parametrize(("dropout", "random"), [(0.0, False), (0.1, True)])
def test_drops_out_sees_the_dropout_of_the_adapters(dropout, random, pico_base):
    model = AutoModelForCausalLM.from_pretrained(pico_base)
    assert drops_out(with_adapters(model, Lora(kind="lora", dropout=dropout))) is random


def test_drops_out_sees_the_dropout_of_attention(pico_base):
    assert drops_out(AutoModelForCausalLM.from_pretrained(pico_base, attention_dropout=0.1))


def test_with_adapters_on_a_bfloat16_base_are_float32(pico_base):
    model = AutoModelForCausalLM.from_pretrained(pico_base, dtype=torch.bfloat16)
    adapted = with_adapters(model, Lora(kind="lora"))
    assert {weight.dtype for weight in adapted.parameters() if weight.requires_grad} == {torch.float32}
    assert {weight.dtype for weight in adapted.parameters() if not weight.requires_grad} == {torch.bfloat16}
