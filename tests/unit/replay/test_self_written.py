"""Buffers that a model writes itself, on a pico model that says whatever it likes."""

import pytest
import torch

from pipelines.engine.stage import Artifact
from pipelines.errors import UserError
from pipelines.hf.chat import IGNORED
from pipelines.hf.dataset import read_documents
from pipelines.hf.models import load_model
from pipelines.hf.rows import read_rows
from pipelines.replay.check import check
from pipelines.replay.config import ReplayConfig
from pipelines.replay.filters import distinct_trigrams, unfit
from pipelines.replay.generate import Sampling, sample, write
from pipelines.replay.prompts import attempts, read_prompts
from pipelines.replay.run import ANSWERS, run
from pipelines.replay.self_written import Answer, collect, planned
from tests.unit.replay.speaker import teach

POLICY = {"kind": "self", "max_new_tokens": 8, "min_new_tokens": 2, "temperature": 1.0, "top_p": 0.95, "batch_size": 4}


@pytest.fixture(scope="module")
def speaker(pico_base, tmp_path_factory):
    return teach(pico_base, tmp_path_factory.mktemp("speaker") / "model")


def replay(base, out, policy=None, **settings):
    out.mkdir(exist_ok=True)
    config = ReplayConfig(from_="base", policy=POLICY | (policy or {}), **({"size": 10} | settings))
    return run(config, {"base": Artifact("base", "model", base, "k")}, out)


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_buffer_holds_answers_whose_cut_ends_are_not_trained(speaker, tmp_path):
    card = replay(speaker, tmp_path / "o", held_out=0.3)
    rows = [row for split in ("train", "test") for row in read_rows(tmp_path / f"o/rows/{split}.parquet")]
    assert card["rows"]["kept"] == len(rows) == card["wanted"] == 10
    assert card["splits"]["test"]["rows"] == 3
    stop = 2  # <|im_end|>
    for row in rows:
        trained = [label for label in row.labels if label != IGNORED]
        assert trained
        assert row.source == "self"
        assert [turn["role"] for turn in row.messages] == ["user", "assistant"]
    documents = [doc for split in ("train", "test") for doc in read_documents(tmp_path / f"o/rows/{split}.jsonl")]
    for row, document in zip(rows, documents, strict=True):
        assert (row.labels[-2] == stop) == document["finished"]
    assert len({document["finished"] for document in documents}) == 2
    assert card["truncated"] == sum(not document["finished"] for document in documents)
    assert not (tmp_path / "o" / ANSWERS).exists()


def test_same_seed_gives_the_same_bytes_and_another_does_not(speaker, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        replay(speaker, tmp_path / name, seed=seed)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert files(tmp_path / "a") != files(tmp_path / "c")


def test_killed_run_goes_on_to_the_same_bytes(speaker, tmp_path, monkeypatch):
    calls = []
    dies_at = 0

    def counted(*arguments):
        calls.append(arguments[2])
        if len(calls) == dies_at:
            raise KeyboardInterrupt
        return write(*arguments)

    monkeypatch.setattr("pipelines.replay.self_written.write", counted)
    replay(speaker, tmp_path / "whole")
    whole, dies_at = list(calls), 2
    calls.clear()
    with pytest.raises(KeyboardInterrupt):
        replay(speaker, tmp_path / "killed")
    assert len((tmp_path / "killed" / ANSWERS).read_text().splitlines()) == 4
    with (tmp_path / "killed" / ANSWERS).open("a") as file:
        file.write('[9, "a line cut sho')
    dies_at = 0
    calls.clear()
    replay(speaker, tmp_path / "killed")
    assert files(tmp_path / "killed") == files(tmp_path / "whole")
    assert calls == whole[1:]


def test_greedy_batches_write_what_generate_writes_alone(pico_base):
    model = load_model(pico_base, "float32", "cpu")
    prompts = [[5, 9, 200], [7], [30, 31, 32, 33, 34, 35]]
    written = write(model, prompts, [0, 0, 0], frozenset([2]), Sampling(0, 1, 20))
    for prompt, answer in zip(prompts, written, strict=True):
        whole = model.generate(torch.tensor([prompt]), max_new_tokens=20, do_sample=False, eos_token_id=2)[0]
        alone = whole[len(prompt) :].tolist()
        assert answer.tokens == [token for token in alone if token != 2]
        assert answer.finished == (2 in alone)


def test_sampled_rows_do_not_depend_on_their_neighbours(pico_base):
    model = load_model(pico_base, "float32", "cpu")
    sampling = Sampling(1.0, 0.9, 16)
    together = write(model, [[5, 9], [7, 8, 9, 10], [3]], [11, 12, 13], frozenset([2]), sampling)
    alone = [write(model, [ids], [seed], frozenset([2]), sampling)[0] for ids, seed in (([5, 9], 11), ([3], 13))]
    assert [together[0], together[2]] == alone


def test_rows_that_stop_early_leave_the_others_unchanged(pico_base):
    model = load_model(pico_base, "float32", "cpu")
    prompts = [[number] for number in range(5, 21)]
    stops = frozenset(range(2, 402, 5))
    together = write(model, prompts, range(16), stops, Sampling(2.0, 1.0, 16))
    assert len({len(answer.tokens) for answer in together}) > 3
    assert together == [
        write(model, [prompt], [seed], stops, Sampling(2.0, 1.0, 16))[0] for seed, prompt in enumerate(prompts)
    ]


def test_nucleus_draws_follow_the_kept_probabilities():
    probs = torch.tensor([0.1, 0.5, 0.3, 0.1])
    draws = (torch.arange(800) + 0.5) / 800
    tokens = sample(probs.log().expand(800, 4), draws, Sampling(1.0, 0.75, 1))
    assert torch.bincount(tokens, minlength=4).tolist() == [0, 500, 300, 0]
    assert sample(probs.log()[None], torch.tensor([0.99999994]), Sampling(1.0, 1.0, 1)).item() in (0, 3)


@pytest.mark.parametrize(
    ("answer", "tokens", "reason"),
    [
        ("", 9, "too_short"),
        ("yes", 1, "too_short"),
        ("half \ufffd a letter", 9, "broken_text"),
        ("one <|im_end|> two", 9, "special_token"),
        ("on and on and on and on and on and on", 9, "repetition"),
        ("a plain answer of some words", 9, None),
    ],
)
def test_unfit_answers_have_their_reason(answer, tokens, reason):
    found = unfit(answer, tokens, 4, ("<|im_end|>",))
    assert (found and found[0]) == reason


def test_distinct_trigrams_of_short_and_repeated_texts():
    assert distinct_trigrams("one two") == 1.0
    assert distinct_trigrams("a b c a b c") == 3 / 4


def test_collect_replaces_dropped_answers():
    plan = planned([f"p{number}" for number in range(8)], 6, 0, greedy=False)
    assert len(plan) == 12
    drops = []

    def every_third_bad(window):
        for number, _ in window:
            yield number, Answer("" if number % 3 == 0 else f"answer {number}", 9, True)

    chats = collect(plan, 6, 2, every_third_bad, (), lambda *drop: drops.append(drop))
    assert [chat.number for chat in chats] == [1, 2, 4, 5, 7, 8]
    assert [drop[1:3] for drop in drops] == [(3, "too_short"), (6, "too_short")]


def test_collect_refuses_when_most_answers_are_bad():
    def all_bad(window):
        return ((number, Answer("", 0, True)) for number, _ in window)

    plan = planned(["one", "two"], 6, 0, greedy=False)
    with pytest.raises(UserError, match=r"only 0 of 6 answers.*too_short 12"):
        collect(plan, 6, 2, all_bad, (), lambda *_: None)


def test_shipped_prompts_are_many_and_different():
    prompts = read_prompts(None)
    assert len(prompts) >= 150
    assert len({prompt.split()[0] for prompt in prompts}) >= 10


def test_attempts_go_round_all_prompts_with_seeds_of_their_own():
    found = attempts(["a", "b", "c"], 8, 0)
    assert sorted(attempt.prompt for attempt in found[:3]) == sorted(attempt.prompt for attempt in found[3:6])
    assert len({attempt.seed for attempt in found}) == 8
    assert attempts(["a", "b", "c"], 4, 0) == found[:4]


def test_check_tells_of_missing_and_empty_prompts_and_greedy_excess(tmp_path):
    def said(policy, size=5):
        return [str(problem) for problem in check(ReplayConfig(from_="base", policy=POLICY | policy, size=size))]

    empty = tmp_path / "empty.txt"
    empty.write_text("\n\n")
    assert said({}) == []
    assert "cannot be read" in said({"prompts": str(tmp_path / "gone.txt")})[0]
    assert "holds no seed prompts" in said({"prompts": str(empty)})[0]
    assert "greedy" in said({"temperature": 0}, size=5000)[0]


def test_writer_that_is_a_dataset_is_refused(pico_base, tmp_path):
    config = ReplayConfig(from_="base", policy={"kind": "uniform"})
    (tmp_path / "o").mkdir()
    with pytest.raises(UserError, match="wants a dataset") as error:
        run(config, {"base": Artifact("base", "model", pico_base, "k")}, tmp_path / "o")
    assert len(str(error.value).splitlines()) == 1
