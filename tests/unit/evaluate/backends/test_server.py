"""A served model against the same model in this process, and every way in which a server can be wrong."""

import json
import math
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.engine.stage import Artifact
from pipelines.errors import UserError
from pipelines.evaluate.backends import completions, lm
from pipelines.evaluate.backends.hf import open_hf
from pipelines.evaluate.backends.server import open_server
from pipelines.evaluate.config import EvaluateConfig
from pipelines.evaluate.score import NotFinite
from pipelines.evaluate.subject import Generated
from pipelines.serving.vllm import client
from tests.unit.evaluate.backends.fake import Fake, running
from tests.unit.evaluate.conftest import evaluate, read_samples
from tests.unit.evaluate.test_tasks import answers, choice

CHAT = "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
CONTEXTS = ["the quick brown fox", "what is the capital of France? ", "", CHAT, "lazy dog " * 40]
CONTINUATIONS = [" jumps over the lazy dog", " Paris.", "7 8 9"]


@pytest.fixture
def fake(pico_base, monkeypatch):
    monkeypatch.setattr(client, "BACKOFF_SECONDS", 0.001)
    with running(pico_base) as server:
        yield server


def settings(folder, **backend: Any) -> tuple[EvaluateConfig, Artifact]:
    asked = {"model": "tuned", "suite": {"tasks": {"any": {"task": "piqa", "metric": "acc"}}}, "batch_size": 3}
    config = EvaluateConfig.model_validate(asked | {"backend": backend or {"kind": "hf"}})
    return config, Artifact("tuned", "model", folder, "k" * 64)


def opened(fake: Fake, folder, max_length: int | None = None, **changes: Any):
    config, model = settings(folder, **{"kind": "server", "url": fake.url, "concurrency": 3} | changes)
    return open_server(config.model_copy(update={"max_length": max_length}), model)


def requests(*arguments: tuple[Any, ...]) -> list[Any]:
    return [SimpleNamespace(args=argument) for argument in arguments]


def ask(prompt: str, **changes: Any) -> tuple[str, dict[str, Any]]:
    return prompt, {"until": [], "max_gen_toks": 8, "do_sample": False} | changes


def told(error: pytest.ExceptionInfo[UserError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("extended", [True, False])
def test_served_model_gives_the_log_probabilities_of_hf(pico_base, fake, extended):
    fake.extended, fake.context = extended, 514
    pairs = requests(*((context, text) for context in CONTEXTS for text in CONTINUATIONS))
    with open_hf(*settings(pico_base)) as hf:
        expected = hf.lm.loglikelihood(pairs)
    with opened(fake, pico_base) as served:
        found = served.lm.loglikelihood(pairs)
        assert served.lm.endpoint.names_ids is extended
    assert [score for score, _ in found] == pytest.approx([score for score, _ in expected], abs=1e-4)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]


def test_served_model_knows_its_own_likeliest_answer(pico_base, fake):
    with opened(fake, pico_base) as served:
        (text,) = served.lm.generate_until(requests(ask("the quick brown fox", max_gen_toks=1)))
        ((_, greedy), (_, other)) = served.lm.loglikelihood(
            requests(("the quick brown fox", text), ("the quick brown fox", " zebra"))
        )
    assert greedy and not other


@pytest.mark.parametrize("extended", [True, False])
def test_served_model_writes_the_answers_of_hf(pico_base, fake, extended):
    fake.extended, fake.context = extended, 514
    asked = requests(*(ask(context or "fox") for context in CONTEXTS))
    with open_hf(*settings(pico_base)) as hf:
        expected, cut = hf.lm.generate_until(asked), hf.generated()
    with opened(fake, pico_base) as served:
        assert served.lm.generate_until(asked) == expected
        assert served.generated() == cut


def test_answer_ends_before_the_stop_string_even_beyond_the_four_of_the_protocol(pico_base, fake):
    with opened(fake, pico_base) as served:
        (whole,) = served.lm.generate_until(requests(ask("the quick brown fox")))
        assert served.generated() == [Generated(cut=True)]
        stop = whole[3:6]
        (short,) = served.lm.generate_until(requests(ask("the quick brown fox", until=["@", "#", "$", "%", stop])))
        assert short == whole.split(stop)[0] and len(short) < len(whole)
        assert served.generated() == [Generated(cut=False)]
    assert fake.seen[-1]["stop"] == ["@", "#", "$", "%"]


def test_served_model_gives_the_bits_of_texts_of_hf(pico_base, fake):
    fake.context, documents, ticks = 514, ["the lazy dog " * 60, "hello"], []
    with open_hf(*settings(pico_base)) as hf:
        expected = hf.nlls(documents, 64, lambda *_: None)
        rolling = hf.lm.loglikelihood_rolling(requests((documents[0] * 4,), ("hello",)))
    with opened(fake, pico_base) as served:
        assert served.nlls(documents, 64, lambda *tick: ticks.append(tick)) == pytest.approx(expected, abs=1e-3)
        assert served.lm.loglikelihood_rolling(requests((documents[0] * 4,), ("hello",))) == pytest.approx(
            rolling, abs=1e-2
        )
    assert ticks[-1] == (len(ticks), len(ticks))


def test_answers_keep_the_order_of_the_requests_when_late_ones_come_first(pico_base, fake):
    pairs = requests(*(("the quick brown fox", f" {number}") for number in range(9)))
    with opened(fake, pico_base, concurrency=1) as served:
        expected = served.lm.loglikelihood(pairs)
    fake.delays, fake.seen = [0.05, 0.0, 0.02], []
    with opened(fake, pico_base, concurrency=6) as served:
        assert served.lm.loglikelihood(pairs) == expected
    assert len({score for score, _ in expected}) == 9


def test_stage_gives_the_scores_of_hf_on_the_same_prompts(pico_base, fake, suite_folder, tmp_path):
    suite = {"tasks": choice(suite_folder)["tasks"] | answers(suite_folder)["tasks"]}
    fake.context, fake.served = 514, "model"
    hf = evaluate(pico_base, suite, tmp_path / "hf")
    served = evaluate(pico_base, suite, tmp_path / "served", backend={"kind": "server", "url": fake.url})
    assert served["scores"] == hf["scores"]
    for name in ("colours", "answers"):
        ours, theirs = read_samples(tmp_path / "served", name), read_samples(tmp_path / "hf", name)
        assert [sample["answer"] for sample in ours] == [sample["answer"] for sample in theirs]
        assert {
            key: value for key, value in served["contract"][name].items() if value != hf["contract"][name].get(key)
        } == {"backend": "server", "server": "fake 1.2.3", "dtype": "as served", "device": "as served"}
    assert any("the server's word" in note for note in served["notes"])


def test_key_is_sent_and_never_told_or_recorded(pico_base, fake, suite_folder, tmp_path, monkeypatch, capfd):
    fake.key, fake.served = "sk-much-secret", "model"
    monkeypatch.setenv("OWN_KEY", "sk-much-secret")
    backend = {"kind": "server", "url": fake.url, "api_key": "OWN_KEY"}
    evaluate(pico_base, choice(suite_folder), tmp_path / "out", backend=backend)
    written = "".join(path.read_text() for path in (tmp_path / "out").rglob("*") if path.is_file())
    fake.key = "sk-another"
    with pytest.raises(UserError) as error:
        evaluate(pico_base, choice(suite_folder), tmp_path / "refused", backend=backend)
    assert "refuses the key" in told(error) and "OWN_KEY" in told(error)
    assert "secret" not in written + told(error) + "".join(capfd.readouterr())


def test_server_that_nobody_started_is_told_in_one_line(pico_base, monkeypatch):
    monkeypatch.setattr(client, "BACKOFF_SECONDS", 0.0)
    config, model = settings(pico_base, kind="server", url="http://127.0.0.1:9/v1")
    with pytest.raises(UserError) as error, open_server(config, model):
        pass
    assert "no server answers at http://127.0.0.1:9/v1 (got [Errno 111] Connection refused)" in told(error)


def test_model_of_another_name_is_told_with_the_names_there(pico_base, fake):
    fake.served = "tuned-v2"
    with pytest.raises(UserError) as error, opened(fake, pico_base):
        pass
    assert "no model of this name for tuned (got tuned). Did you mean models: {tuned: tuned-v2}?" in told(error)
    config, _ = settings(pico_base, kind="server", url=fake.url, models={"tuned": "tuned-v2"})
    with open_server(config, Artifact("train.tuned", "model", pico_base, "k")) as served:
        assert served.lm.endpoint.model == "tuned-v2" and served.notes[0].startswith("tuned was measured as tuned-v2")


def test_busy_server_is_asked_again(pico_base, fake):
    with opened(fake, pico_base) as served:
        fake.replies = [(429, {"Retry-After": "0"}, "{}"), (503, {}, "down"), (500, {}, "oops")]
        assert len(served.lm.loglikelihood(requests(("fox", " dog")))) == 1


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        ((500, {}, '{"error": {"message": "EngineDeadError"}}'), "fails at /models (got HTTP 500: EngineDeadError)"),
        ((429, {}, '{"message": "slow down"}'), "stays too busy (got HTTP 429: slow down)"),
        ((404, {}, "<html><h1>nothing here</h1></html>"), "has no /models there (got HTTP 404: nothing here)"),
        ((307, {"Location": "http://elsewhere"}, ""), "has no /models there (got HTTP 307"),
        ((403, {}, '{"detail": "no"}'), "refuses the key (got HTTP 403: no). Set a key in the environment variable"),
        ((200, {}, "welcome"), "/models answers no JSON object (got welcome)"),
        ((200, {}, '{"data": []}'), "no model of this name for tuned"),
    ],
)
def test_answer_that_is_an_error_is_told_in_one_line(pico_base, fake, reply, says):
    fake.replies = [reply] * 12
    with pytest.raises(UserError) as error, opened(fake, pico_base):
        pass
    assert says in told(error)


def test_server_that_fails_while_measuring_is_told_in_one_line(pico_base, fake):
    with opened(fake, pico_base) as served, pytest.raises(UserError) as error:
        fake.replies = [(500, {}, "x" * 1000)] * 40
        served.lm.loglikelihood(requests(*(("fox", f" {number}") for number in range(9))))
    assert "fails at /completions (got HTTP 500: xxx" in told(error) and len(told(error)) < 500


def test_server_that_adds_a_token_to_the_prompt_is_refused(pico_base, fake):
    fake.bos = True
    with pytest.raises(UserError, match=r"the server changes the prompt \(got \d+ tokens for \d+\)"):
        opened(fake, pico_base).__enter__()


def test_server_of_another_tokenizer_is_refused(pico_base, fake):
    fake.shift = 1
    with pytest.raises(UserError, match="tokenizer is not the model's"):
        opened(fake, pico_base).__enter__()


def test_server_that_scores_no_prompts_still_generates(pico_base, fake):
    fake.scoring = False
    with opened(fake, pico_base) as served:
        assert len(served.lm.generate_until(requests(ask("fox")))) == 1
        for measure in (
            lambda: served.lm.loglikelihood(requests(("fox", " dog"))),
            lambda: served.nlls(["hello"], 64, lambda *_: None),
        ):
            with pytest.raises(UserError, match="gives no log-probabilities of prompts"):
                measure()


def test_texts_on_a_server_that_scores_no_prompts_are_refused_before_any_task(pico_base, fake, suite_folder, tmp_path):
    fake.scoring, fake.served = False, "model"
    suite = answers(suite_folder) | {"texts": {"pydoc": {"python_topics": True, "limit": 2, "max_bytes": 100}}}
    with pytest.raises(UserError, match="gives no log-probabilities of prompts"):
        evaluate(pico_base, suite, tmp_path / "out", backend={"kind": "server", "url": fake.url})
    with pytest.raises(UserError, match=r"suite.tasks.colours: the server gives no log-probabilities of prompts"):
        evaluate(pico_base, choice(suite_folder), tmp_path / "choice", backend={"kind": "server", "url": fake.url})


def test_server_that_takes_nothing_beyond_the_protocol_is_measured_by_the_protocol(pico_base, fake):
    fake.strict = True
    with opened(fake, pico_base) as served:
        served.lm.loglikelihood(requests(("fox", " dog")))
        served.lm.generate_until(requests(ask("fox")))
    assert all("return_token_ids" not in body for body in fake.seen)


def test_server_that_takes_no_token_ids_is_refused(pico_base, fake):
    fake.replies = [(200, {}, '{"data": [{"id": "tuned"}]}'), (404, {}, "")]
    fake.replies += [(422, {}, '{"detail": "prompt must be a string"}')] * 3
    with pytest.raises(UserError, match=r"takes no token ids as a prompt \(got prompt must be a string\)"):
        opened(fake, pico_base).__enter__()


@pytest.mark.parametrize("poison", ["nan", "null", "refused"])
def test_log_probability_that_is_no_number_is_told_as_none(pico_base, fake, poison):
    with opened(fake, pico_base) as served:
        fake.poison = poison
        ((score, greedy),) = served.lm.loglikelihood(requests(("fox", " dog")))
        assert math.isnan(score) and not greedy
        assert math.isnan(served.nlls(["hello"], 64, lambda *_: None)[0])
        served.lm.generate_until(requests(ask("fox")))
        assert not served.generated()[0].finite


@pytest.mark.parametrize("poison", ["nan", "null", "refused"])
def test_broken_weights_are_refused_before_anything_is_measured(pico_base, fake, poison):
    fake.poison = poison
    with pytest.raises(NotFinite, match="gives log-probabilities that are no numbers"):
        opened(fake, pico_base).__enter__()


def test_stage_names_the_document_whose_score_is_no_number(pico_base, fake, suite_folder, tmp_path, monkeypatch):
    fake.served, honest = "model", completions.score
    monkeypatch.setattr(lm, "score", lambda *row: (math.nan, False) if len(row[1]) > 20 else honest(*row))
    with pytest.raises(NotFinite, match=r"suite.tasks.colours: a log-likelihood of document q\d+ is no number"):
        evaluate(pico_base, choice(suite_folder), tmp_path / "out", backend={"kind": "server", "url": fake.url})


def test_prompt_is_cut_to_the_context_of_the_server(pico_base, fake):
    fake.context = 66
    with opened(fake, pico_base) as served, open_hf(*settings(pico_base)) as hf:
        hf.lm._max_length = 64
        assert served.max_length == 64
        pairs = requests(("lazy dog " * 200, " fox"))
        assert served.lm.loglikelihood(pairs)[0][0] == pytest.approx(hf.lm.loglikelihood(pairs)[0][0], abs=1e-4)
        asked = requests(ask("lazy dog " * 200))
        assert served.lm.generate_until(asked) == hf.lm.generate_until(asked)
    assert max(len(body["prompt"]) for body in fake.seen) == 65


def test_length_asked_for_is_the_length_of_prompts(pico_base, fake):
    with opened(fake, pico_base, max_length=32) as served:
        assert served.max_length == 32
        with pytest.raises(UserError, match="longer than 32 tokens"):
            served.lm.loglikelihood(requests(("fox", " dog" * 200)))
        with pytest.raises(UserError, match="no tokens to score"):
            served.lm.loglikelihood(requests(("fox", "")))
        with pytest.raises(UserError, match="leave no room for a prompt"):
            served.lm.generate_until(requests(ask("fox", max_gen_toks=32)))


def test_setting_that_no_server_has_is_refused(pico_base, fake):
    with opened(fake, pico_base) as served, pytest.raises(UserError, match=r"with this setting \(got num_beams\)"):
        served.lm.generate_until(requests(ask("fox", num_beams=4)))


def test_sampled_answers_have_a_seed_each(pico_base, fake):
    with opened(fake, pico_base) as served:
        served.lm.generate_until(requests(*[ask("fox", do_sample=True, temperature=0.7, top_p=0.9)] * 3))
    sent = fake.seen[-3:]
    assert sorted(body["seed"] for body in sent) == [1234, 1235, 1236]
    assert all((body["temperature"], body["top_p"]) == (0.7, 0.9) for body in sent)


def test_password_in_the_url_is_refused(pico_base, fake):
    with pytest.raises(UserError) as error:
        opened(fake, pico_base, url="http://me:geheim@127.0.0.1/v1").__enter__()
    assert "holds a name or a password" in told(error) and "geheim" not in told(error)


def test_records_hold_no_address(pico_base, fake, suite_folder, tmp_path):
    fake.served = "model"
    metrics = evaluate(pico_base, choice(suite_folder), tmp_path / "out", backend={"kind": "server", "url": fake.url})
    assert "127.0.0.1" not in json.dumps(metrics)
