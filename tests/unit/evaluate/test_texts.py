"""Bits per byte: every token once, lm-eval's rule for windows, documents from files and from Python's help."""

import json
import math

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from pipelines.errors import UserError
from pipelines.evaluate import batches, texts
from pipelines.evaluate.documents import read_documents
from pipelines.evaluate.score import ratio
from pipelines.hf.models import load_model, load_tokenizer
from tests.unit.evaluate.conftest import evaluate, read_samples

PROSE = ["the quick brown fox jumps over the lazy dog. " * 9, "Paris", "hunters run 12 34 é ü", "answer " * 40]


@pytest.mark.parametrize("count", [1, 7, 8, 9, 16, 61])
def test_windows_are_those_of_lm_eval_and_score_every_token_once(count):
    tokens = list(range(100, 100 + count))
    ours = [(window.inputs, window.targets) for window in texts.windows(0, tokens, 5, 8)]
    theirs = [
        (context + scored[:-1], scored)
        for context, scored in map(
            make_disjoint_window, get_rolling_token_windows(tokens, prefix_token=5, max_seq_len=8, context_len=1)
        )
    ]
    assert ours == theirs
    assert [token for _, scored in ours for token in scored] == tokens


def test_nlls_equal_lm_evals_rolling_log_likelihood(pico_base):
    model, words = load_model(pico_base), load_tokenizer(pico_base)
    ours = texts.nlls(model, words, PROSE, 32, 4, lambda done, total: None)
    lm = HFLM(pretrained=model, tokenizer=words, batch_size=4, max_length=32)
    requests = [Instance("loglikelihood_rolling", {}, (text,), i, ("t", i, 1)) for i, text in enumerate(PROSE)]
    assert ours == pytest.approx([-value for value in lm.loglikelihood_rolling(requests)], rel=1e-5)


def test_nlls_do_not_hang_on_the_batch(pico_base, monkeypatch):
    model, words = load_model(pico_base), load_tokenizer(pico_base)
    together = texts.nlls(model, words, PROSE, 64, 16, lambda done, total: None)
    monkeypatch.setattr(batches, "LOGITS", 1)
    alone = texts.nlls(model, words, PROSE, 64, 16, lambda done, total: None)
    assert together == pytest.approx(alone, rel=1e-5)


def test_bits_per_byte_is_a_ratio_of_sums(pico_base, tmp_path):
    (tmp_path / "prose.txt").write_text("\n\n".join(PROSE))
    suite = {"texts": {"prose": {"files": str(tmp_path / "prose.txt"), "max_length": 32}}}
    score = evaluate(pico_base, suite, tmp_path / "out")["scores"]["prose/bits_per_byte"]
    samples = read_samples(tmp_path / "out", "prose")
    nats, size = sum(s["scores"]["nll"] for s in samples), sum(s["weight"] for s in samples)
    assert [s["target"] for s in samples] == PROSE
    assert size == sum(len(text.encode()) for text in PROSE)
    assert score["value"] == pytest.approx(nats / math.log(2) / size, rel=1e-12)
    assert (score["kind"], score["lower_is_better"], score["group"], score["n"]) == ("ratio", True, "general", 4)


def test_ratio_stderr_agrees_with_the_bootstrap():
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(200, generator=generator, dtype=torch.float64) * 50 + 10
    sums = weights * (1 + 0.3 * torch.randn(200, generator=generator, dtype=torch.float64))
    _, stderr = ratio(sums.tolist(), weights.tolist())
    rows = torch.randint(200, (4000, 200), generator=generator)
    assert stderr == pytest.approx(float((sums[rows].sum(1) / weights[rows].sum(1)).std()), rel=0.1)


def test_halves_of_the_topics_share_nothing_and_lose_nothing():
    every = texts.python_topics()
    dev, test = (texts.keep(every, split, None) for split in ("dev", "test"))
    assert len(dev) > 20 and len(test) > 20 and not set(dev) & set(test)
    assert sorted(dev + test) == sorted(every)


def test_max_bytes_cuts_at_a_character():
    assert texts.keep(["aéé", "abc"], None, 2) == ["a", "ab"]


def test_jsonl_with_a_broken_line_names_it(tmp_path):
    (tmp_path / "x.jsonl").write_text(json.dumps({"text": "a"}) + "\n" + json.dumps({"body": "b"}) + "\n")
    with pytest.raises(UserError, match=r"x\.jsonl:2: not a JSON object with a text"):
        read_documents(tmp_path / "x.jsonl")


@pytest.mark.parametrize(("content", "says"), [(b"", "has no documents"), (b"caf\xe9", "is not UTF-8")])
def test_text_that_cannot_be_measured_is_refused(content, says, pico_base, tmp_path):
    (tmp_path / "x.txt").write_bytes(content)
    with pytest.raises(UserError, match=says):
        evaluate(pico_base, {"texts": {"x": {"files": str(tmp_path / "x.txt")}}}, tmp_path / "out")


def test_missing_text_file_is_refused(pico_base, tmp_path):
    with pytest.raises(UserError, match="no such file"):
        evaluate(pico_base, {"texts": {"x": {"files": str(tmp_path / "y.txt")}}}, tmp_path / "out")
