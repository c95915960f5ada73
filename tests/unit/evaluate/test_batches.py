"""Batches: composed as lm-eval composes them, and how much of them is padding."""

import random

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from pipelines.evaluate.backends.hf import SharedLM
from pipelines.evaluate.batches import Padding, batches, padding
from pipelines.hf.models import load_model, load_tokenizer

WORDS = ["the", "quick", "brown fox", "jumps over", "the lazy dog", "0 1 2", "é ü", "capital of France"]


@pytest.fixture
def models(pico_base):
    """lm-eval's own class and ours, on one model."""
    model, words = load_model(pico_base), load_tokenizer(pico_base)
    return [kind(pretrained=model, tokenizer=words, batch_size=5, max_length=96) for kind in (HFLM, SharedLM)]


def rows(lm: HFLM, monkeypatch: pytest.MonkeyPatch) -> list[list[list[int]]]:
    """Fills with the tokens of every batch that the model is given from now on."""
    seen: list[list[list[int]]] = []
    call, generate = lm._model_call, lm._model_generate

    def note_call(inputs: torch.Tensor, **settings: object) -> torch.Tensor:
        seen.append(inputs.tolist())
        return call(inputs, **settings)

    def note_generate(context: torch.Tensor, **settings: object) -> torch.Tensor:
        seen.append(context.tolist())
        return generate(context, **settings)

    monkeypatch.setattr(lm, "_model_call", note_call)
    monkeypatch.setattr(lm, "_model_generate", note_generate)
    return seen


def text(draw: random.Random, most: int) -> str:
    return " ".join(draw.choices(WORDS, k=draw.randint(1, most)))


def test_log_likelihoods_are_those_of_lm_eval_in_its_batches(models, monkeypatch):
    """Also where continuations share a row, because they differ in the last token only, and where prompts are cut."""
    draw, pairs = random.Random(0), []
    for _ in range(14):
        context = text(draw, 40)
        pairs += [(context, " " + choice) for choice in ("0", "1", "2", text(draw, 9))]
    pairs += [("", " alone"), pairs[0]]
    requests = [Instance("loglikelihood", {}, pair, place, ("t", place, 1)) for place, pair in enumerate(pairs)]
    (theirs, ours), seen = models, [rows(lm, monkeypatch) for lm in models]
    assert ours.loglikelihood(requests) == theirs.loglikelihood(requests)
    assert seen[0] == seen[1] and len(seen[0]) > 5
    cells = sum(len(batch) * len(batch[0]) for batch in seen[1])
    assert ours.padding.tokens == cells and 0 < ours.padding.padded < cells


def test_answers_are_those_of_lm_eval_in_its_batches(models, monkeypatch):
    draw = random.Random(1)
    kinds = [{"until": [], "max_gen_toks": 4}, {"until": ["1"], "max_gen_toks": 7, "do_sample": False}]
    prompts = [text(draw, 30) for _ in range(16)]
    requests = [
        Instance("generate_until", {}, (prompt, kinds[place % 2]), place, ("t", place, 1))
        for place, prompt in enumerate([*prompts, prompts[0]])
    ]
    (theirs, ours), seen = models, [rows(lm, monkeypatch) for lm in models]
    assert ours.generate_until(requests) == theirs.generate_until(requests)
    assert seen[0] == seen[1] and len(seen[0]) == 4
    assert len(ours.generated) == 17


def test_padding_counts_what_fills_up_shorter_rows():
    assert padding([[5, 3, 5], [2]]) == Padding(17, 2)
    total = Padding(17, 2) + Padding(3, 1)
    assert total == Padding(20, 3) and total.share == 0.15 and Padding(0, 0).share == 0.0


def test_batches_are_even_in_length_and_bounded():
    lengths = [3, 9, 1, 9, 4, 7]
    made = batches(lengths, 1000, 2)
    assert made == [[1, 3], [5, 4], [0, 2]]
    assert [len(batch) for batch in batches([2**20, 10], 2**10, 8)] == [1, 1]


def test_padding_of_sorted_requests_stays_below_a_tenth():
    """Choices as common tasks have them: four to a prompt, prompts of 20 to 90 tokens, batches of 16."""
    draw = random.Random(0)
    lengths = [length + draw.randint(1, 12) for length in (draw.randint(20, 90) for _ in range(300)) for _ in range(4)]
    assert padding([[lengths[row] for row in batch] for batch in batches(lengths, 50_000, 16)]).share < 0.1
