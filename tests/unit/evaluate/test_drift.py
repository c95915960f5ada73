"""Drift from the base: exact where it must be, and equal to the definition elsewhere."""

import pytest
import torch

from pipelines.errors import UserError
from pipelines.evaluate import drift as room
from pipelines.evaluate.drift import drift
from pipelines.hf.models import load_model
from pipelines.hf.rows import Row
from tests import pico
from tests.unit.evaluate.conftest import evaluate, read_samples

SUITE = {"drift": {"chats": {"dataset": "own"}}}


def rows(*lengths: int) -> list[Row]:
    generator = torch.Generator().manual_seed(0)
    ids = [torch.randint(3, 300, (length,), generator=generator).tolist() for length in lengths]
    return [
        Row(f"r{i}", "chats", None, row, [-100] * (len(row) // 2) + row[len(row) // 2 :]) for i, row in enumerate(ids)
    ]


def test_base_against_itself_gives_exactly_zero_and_one(pico_base, dataset, tmp_path):
    scores = evaluate(pico_base, SUITE, tmp_path / "out", dataset)["scores"]
    assert scores["chats/kl"]["value"] == 0.0 and scores["chats/kl"]["stderr"] == 0.0
    assert scores["chats/agreement"]["value"] == 1.0
    assert scores["chats/kl"]["lower_is_better"] and not scores["chats/agreement"]["lower_is_better"]


def test_copy_of_the_base_gives_exactly_zero(pico_base):
    one, two = load_model(pico_base), load_model(pico_base)
    assert all(d.kl == 0.0 and d.agree == d.tokens for d in drift(one, two, rows(6, 9, 30), 2, lambda *_: None))


def test_kl_and_agreement_follow_their_definition(pico_base, pico_tuned, monkeypatch):
    monkeypatch.setattr(room, "_CHUNK", 5)
    base, model = load_model(pico_base), load_model(pico_tuned[0])
    for row, got in zip(rows(6, 9, 30), drift(base, model, rows(6, 9, 30), 2, lambda *_: None), strict=True):
        ids, labels = torch.tensor([row.input_ids]), torch.tensor(row.labels[1:])
        with torch.inference_mode():
            p = base(ids).logits[0, :-1].double().log_softmax(-1)[labels != -100]
            q = model(ids).logits[0, :-1].double().log_softmax(-1)[labels != -100]
        assert got.kl == pytest.approx(
            float(torch.nn.functional.kl_div(q, p, log_target=True, reduction="sum")), rel=1e-3
        )
        assert got.agree == int((p.argmax(-1) == q.argmax(-1)).sum())
        assert got.tokens == len(p) == row.loss_tokens


def test_tuned_model_drifts_and_its_samples_add_up(pico_base, pico_tuned, dataset, tmp_path):
    score = evaluate(pico_tuned[0], SUITE, tmp_path / "out", dataset, base=pico_base)["scores"]["chats/kl"]
    samples = read_samples(tmp_path / "out", "chats")
    assert score["value"] > 0 and score["n"] == 6
    total = sum(s["scores"]["kl"] for s in samples) / sum(s["weight"] for s in samples)
    assert score["value"] == pytest.approx(total, rel=1e-12)
    assert samples[0]["prompt"].endswith("assistant\n") and samples[0]["target"] == "00000000<|im_end|>"


def test_other_vocabulary_is_refused(pico_base, tmp_path):
    other = load_model(pico.save_model(tmp_path / "other", seed=3, vocab_size=500))
    with pytest.raises(UserError, match="vocabulary is not the base's"):
        drift(load_model(pico_base), other, rows(6), 2, lambda *_: None)


def test_split_that_is_missing_is_refused(pico_base, dataset, tmp_path):
    suite = {"drift": {"chats": {"dataset": "own", "split": "dev"}}}
    with pytest.raises(UserError, match=r"no such split \(got dev\)\. It has: test, train"):
        evaluate(pico_base, suite, tmp_path / "out", dataset)
