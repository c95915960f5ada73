"""Rows of a dataset that was really prepared, on a pico model."""

import json
from pathlib import Path

import pytest

from pipelines.cli.main import main

RECIPE = """\
burnish: 1
base: {path: %s}
data:
  chats: {source: {files: chats.jsonl}, max_length: 256, split: {dev: 0.5}}
"""


@pytest.fixture
def project(tmp_path: Path, pico_base: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a recipe whose dataset is made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BURNISH_HOME", str(tmp_path / "home"))
    chats = (
        {"messages": [{"role": "user", "content": f"say {n}\x1b[31m"}, {"role": "assistant", "content": f"fox {n}"}]}
        for n in range(8)
    )
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps(chat) + "\n" for chat in chats))
    (tmp_path / "recipe.yaml").write_text(RECIPE % pico_base)
    assert main(["run", "recipe.yaml"]) == 0
    return tmp_path


@pytest.mark.slow
def test_inspect_marks_what_is_trained(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["inspect", "recipe.yaml", "chats", "--rows", "1", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    trained = [span["text"] for span in row["spans"] if span["trained"]]
    assert len(trained) == 1 and trained[0].startswith("fox") and trained[0].endswith("<|im_end|>")
    assert main(["inspect", "recipe.yaml", "chats", "--rows", "1"]) == 0
    printed = capsys.readouterr().out
    assert "[[fox" in printed and "<|im_end|>]]" in printed
    assert "\x1b[31m" not in printed and "\\x1b[31m" in printed
    assert main(["inspect", "recipe.yaml", "chats", "--split", "tset"]) == 2
    assert "It has dev, train" in capsys.readouterr().err
    assert main(["show", "recipe.yaml", "chats", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["state"], shown["kind"], shown["metrics"]["rows"]["kept"]) == ("cached", "dataset", 8)
    assert Path(shown["path"]).is_dir() and Path(shown["made_from"]["base"]).is_dir()
