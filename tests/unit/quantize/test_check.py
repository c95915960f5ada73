"""What is said of a quantisation before anything is made: what is not installed, or of another version."""

from pathlib import Path

import pytest

from pipelines.quantize.check import check
from pipelines.quantize.config import QuantizeConfig


@pytest.fixture
def environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BURNISH_ENVS", str(tmp_path))
    return tmp_path


def installed(environments: Path, name: str, distribution: str, version: str) -> None:
    """An environment of that name that holds one distribution."""
    metadata = environments / name / "lib" / "python3" / "site-packages" / f"{distribution}-{version}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    (environments / name / "bin").mkdir()
    (environments / name / "bin" / "python").touch()


def said(level: str, **changes: object) -> list[str]:
    return [str(problem) for problem in check(QuantizeConfig.model_validate({"export": "e", "level": level} | changes))]


def test_check_names_every_environment_that_is_missing(environments: Path) -> None:
    assert [line.rpartition(" ")[2] for line in said("int8", serve=True)] == ["llmcompressor", "vllm"]
    assert [line.rpartition(" ")[2] for line in said("gguf_q8_0")] == ["gguf"]


def test_check_refuses_a_maker_of_another_version(environments: Path) -> None:
    installed(environments, "llmcompressor", "llmcompressor", "0.14.0.1")
    assert said("fp8", maker="llmcompressor==0.14.0.1") == []
    (line,) = said("fp8", maker="llmcompressor==0.15")
    assert "does not hold llmcompressor 0.15 (got 0.14.0.1)" in line
    assert line.endswith("burnish doctor --install llmcompressor")
