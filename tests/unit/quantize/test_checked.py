"""The distance of a level from its export, and what is refused by it."""

import math

import pytest
import torch

from pipelines.errors import UserError
from pipelines.quantize.checked import Distance, distance, judged
from pipelines.quantize.served import require_near


def test_distance_equals_the_definition():
    one, other = torch.tensor([[0.0, 1.0, 2.0], [3.0, 0.0, 0.0]]), torch.tensor([[0.0, 1.0, 1.0], [0.0, 3.0, 0.0]])
    p, q = one.double().softmax(-1), other.double().softmax(-1)
    mean = p.mean(0)
    found = distance([one[:1], one[1:]], [other[:1], other[1:]])
    assert found.kl == pytest.approx(float((p * (p / q).log()).sum(-1).mean()))
    assert found.context == pytest.approx(float((p * (p / mean).log()).sum(-1).mean()))
    assert found.agreement == 0.0


def test_distance_of_equal_logits_is_none():
    logits = [torch.randn(5, 7, generator=torch.Generator().manual_seed(0))]
    found = distance(logits, logits)
    assert (found.kl, found.agreement) == (0.0, 1.0)
    assert found.context > 0


def test_judged_noise_is_garbage():
    generator = torch.Generator().manual_seed(0)
    export = [4 * torch.randn(20, 50, generator=generator)]
    with pytest.raises(UserError, match="int8 is garbage: further from the export than a guess without context"):
        judged(distance(export, [4 * torch.randn(20, 50, generator=generator)]), "int8")


def test_judged_uniform_is_garbage():
    export = [4 * torch.randn(20, 50, generator=torch.Generator().manual_seed(0))]
    with pytest.raises(UserError, match="garbage"):
        judged(distance(export, [torch.zeros(20, 50)]), "fp8")


def test_judged_nan_is_garbage():
    export = [torch.randn(20, 50, generator=torch.Generator().manual_seed(0))]
    with pytest.raises(UserError, match="garbage"):
        judged(distance(export, [torch.full((20, 50), math.nan)]), "fp8")


def test_judged_equal_logits_are_refused():
    with pytest.raises(UserError, match="nothing was quantised"):
        judged(Distance(0.0, 1.0, 3.0), "int8")


def test_judged_float16_may_lose_nothing():
    assert judged(Distance(0.0, 1.0, 3.0), "gguf_f16") == []


def test_judged_large_loss_is_told_and_a_small_one_not():
    assert judged(Distance(0.1, 0.98, 3.0), "int8") == []
    [told] = judged(Distance(0.4, 0.8, 3.0), "w4a16_gptq")
    assert (told.severity, told.rule) == ("W", "quantised-loss")


def said(logits: torch.Tensor, tokens: list[int]) -> list[dict[int, float]]:
    return [{token: float(row[token]) for token in tokens} for row in logits.double().log_softmax(-1)]


def test_near_same_model_is_nothing_apart_and_all_tokens_give_the_whole_kl():
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.randn(4, 30, generator=generator) for _ in range(2))
    assert require_near([one], [said(one, [3, 5, 7])], 0.0) == pytest.approx(0.0, abs=1e-9)
    whole = require_near([one], [said(other, list(range(30)))], 9.0)
    assert whole == pytest.approx(distance([one], [other]).kl, rel=1e-6)
    assert 0 < require_near([one], [said(other, [3, 5, 7])], 9.0) < whole


def test_near_another_model_and_no_number_are_refused():
    generator = torch.Generator().manual_seed(0)
    one, other = (3 * torch.randn(4, 30, generator=generator) for _ in range(2))
    with pytest.raises(UserError, match="vLLM serves another model than transformers reads from the same files"):
        require_near([one], [said(other, [3, 5, 7])], 0.01)
    with pytest.raises(UserError, match="vLLM serves another model"):
        require_near([one], [[{3: math.nan}] * 4], 0.01)
