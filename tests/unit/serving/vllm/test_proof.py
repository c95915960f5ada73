"""What is proven of a folder by serving it, with a server that says what the test wants."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import UserError
from pipelines.serving.environments import Environment
from pipelines.serving.vllm import proof
from pipelines.serving.vllm.proof import Adapter, prove
from pipelines.serving.vllm.server import NAME

ENVIRONMENT = Environment("vllm", Path(), {"vllm": "0.32.0"})
PROMPTS = [[1, 2, 3], [4, 5]]
SAID = [[-0.5, -1.0], [-2.0]]
TUNED = [[-0.4, -1.0], [-2.0]]


class Served:
    """A session whose servers are the arguments that they were started with."""

    @contextlib.contextmanager
    def serve(
        self, folder: Path, arguments: Sequence[str], adapters: Mapping[str, Path], where: str
    ) -> Iterator[list[str]]:
        yield list(arguments)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[float]]]:
    """What is said by the model and by adapters, by name."""
    said = {NAME: SAID}
    trip: dict[str, Any] = {"chat": {NAME: {"finish_reason": "stop"}}, "metrics": ["vllm:a", "vllm:b"]}
    monkeypatch.setattr(proof, "prompt_logprobs", lambda client, name, prompts: said[name])
    monkeypatch.setattr(proof, "round_trip", lambda environment, client, name, adapters: trip)
    return said


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps({"max_position_embeddings": 512}))
    return tmp_path


def test_proof_tells_the_distance_of_the_model_and_of_its_adapter(answers: dict[str, Any], folder: Path) -> None:
    answers["tuned"] = TUNED
    near = [[-0.4, -1.00005], [-2.0]]
    found = prove(Served(), ENVIRONMENT, folder, "float32", PROMPTS, SAID, {"tuned": Adapter(folder, near)})
    assert found.apart == {NAME: 0.0, "tuned": pytest.approx(5e-5, rel=1e-6)}
    assert (found.tokens, found.ended, found.metrics) == (3, "stop", 2)
    assert found.arguments[found.arguments.index("--max-model-len") + 1] == "512"


def test_proof_of_another_model_is_refused(answers: dict[str, Any], folder: Path) -> None:
    with pytest.raises(UserError, match="vLLM serves other log-probabilities than transformers"):
        prove(Served(), ENVIRONMENT, folder, "float32", PROMPTS, TUNED)


def test_proof_of_an_adapter_served_as_the_base_is_refused(answers: dict[str, Any], folder: Path) -> None:
    answers["tuned"] = SAID
    with pytest.raises(UserError, match="vLLM serves the adapter as the base itself"):
        prove(Served(), ENVIRONMENT, folder, "float32", PROMPTS, SAID, {"tuned": Adapter(folder, TUNED)})


def test_proof_in_16_bits_allows_the_rounding_of_large_logits_and_none_in_float32(
    answers: dict[str, Any], folder: Path
) -> None:
    near = [[-0.5, -1.3], [-2.0]]
    with pytest.raises(UserError, match=r"0.3 nats apart, where 0.02 is allowed in bfloat16"):
        prove(Served(), ENVIRONMENT, folder, "bfloat16", PROMPTS, near)
    found = prove(Served(), ENVIRONMENT, folder, "bfloat16", PROMPTS, near, scale=25.0, exact=SAID)
    assert (found.apart[NAME], found.exact) == (pytest.approx(0.3), 0.0)
    with pytest.raises(UserError, match="is allowed in float32"):
        prove(Served(), ENVIRONMENT, folder, "bfloat16", PROMPTS, near, scale=25.0, exact=near)


def test_proof_without_another_engine_compares_nothing(answers: dict[str, Any], folder: Path) -> None:
    assert prove(Served(), ENVIRONMENT, folder, "auto", PROMPTS, None).apart == {}
