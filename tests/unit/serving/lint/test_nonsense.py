"""Whatever a JSON file of a folder says, the rules find something or nothing, and never fail."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.serving.findings import Finding
from pipelines.serving.lint import configs, quantised, words
from pipelines.serving.lint.adapter import lint_adapter
from tests import pico
from tests.unit.serving.lint.changes import copied
from tests.unit.serving.lint.packing import quantise
from tests.unit.serving.lint.test_adapter import make

VALUES: list[Any] = [None, [], "x", -1, [[1]], {"1": {"content": 3}}]
FURTHER = (
    "rope_scaling", "layer_types", "text_config", "chat_template", "added_tokens_decoder", "extra_special_tokens",
    "rank_pattern", "sliding_window", "architectures", "quantization_config", "top_p", "eos_token",
)  # fmt: skip


def nonsense(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The content with one value at a time, at any depth, in the place of which stands one that nobody expects."""
    for *path, last in [*places(content), *([key] for key in FURTHER)]:
        for value in VALUES:
            changed = copy.deepcopy(content)
            place = changed
            for key in path:
                place = place[key]
            place[last] = value
            yield changed


def places(content: dict[str, Any], *above: str) -> Iterator[list[str]]:
    for key, value in content.items():
        yield [*above, key]
        if isinstance(value, dict):
            yield from places(value, *above, key)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sizes = {"hidden_size": 128, "intermediate_size": 256}
    return pico.save_model(tmp_path_factory.mktemp("nonsense") / "model", seed=0, dtype=torch.bfloat16, **sizes)


def failing(path: Path, rules: Callable[[], list[Finding]]) -> list[Any]:
    """The contents of the file on which the rules say anything but findings."""
    found = []
    for content in nonsense(json.loads(path.read_text())):
        path.write_text(json.dumps(content))
        if not all(isinstance(finding, Finding) for finding in rules()):
            found.append(content)
    return found


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer_config.json"])
def test_words_of_nonsense_never_fail(name: str, folder: Path, tmp_path: Path) -> None:
    broken = copied(folder, tmp_path / "broken")
    assert failing(broken / name, lambda: words.rules(broken)) == []


def test_configs_of_nonsense_never_fail(folder: Path, tmp_path: Path) -> None:
    broken = copied(folder, tmp_path / "broken")
    assert failing(broken / "config.json", lambda: configs.rules(broken)) == []


@pytest.mark.parametrize("kind", ["w4a16-asym", "gptq", "deepseek"])
def test_quantised_folders_of_nonsense_never_fail(kind: str, folder: Path, tmp_path: Path) -> None:
    broken = quantise(copied(folder, tmp_path / "broken"), kind)
    assert failing(broken / "config.json", lambda: quantised.rules(broken)) == []


def test_adapters_of_nonsense_never_fail(folder: Path, tmp_path: Path) -> None:
    adapter = make(folder, tmp_path / "adapter")
    assert failing(adapter / "adapter_config.json", lambda: lint_adapter(adapter, folder)) == []
    base = copied(folder, tmp_path / "base")
    adapter = make(folder, tmp_path / "sound")
    assert failing(base / "config.json", lambda: lint_adapter(adapter, base)) == []


def test_words_of_a_tokenizer_on_which_its_library_panics_are_a_finding(folder: Path, tmp_path: Path) -> None:
    broken = copied(folder, tmp_path / "broken")
    content = json.loads((broken / "tokenizer.json").read_text())
    content["model"]["continuing_subword_prefix"] = "/x"
    (broken / "tokenizer.json").write_text(json.dumps(content))
    assert "unreadable-tokenizer" in {finding.rule for finding in words.rules(broken)}
