"""What is said of a script under another environment's Python: its answer, its progress, and how it ends."""

import json
import sys
import textwrap
from pathlib import Path

import pytest

from pipelines.engine.progress import PROGRESS_FILE
from pipelines.errors import UserError
from pipelines.serving import scripts
from pipelines.serving.environments import Environment


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """An environment whose Python is this one, and a folder of scripts of the test's own."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    monkeypatch.setattr(scripts, "SCRIPTS", tmp_path)
    return Environment("llmcompressor", tmp_path, {})


_HEAD = """
import json, os, sys
asked = json.load(open(sys.argv[1]))
answer = lambda value: json.dump(value, open(sys.argv[2], "w"))
"""


def script(folder: Path, body: str) -> str:
    (folder / "script.py").write_text(_HEAD + textwrap.dedent(body))
    return "script.py"


def test_ask_gives_the_answer_and_passes_progress_on(
    python: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(PROGRESS_FILE, str(tmp_path / "progress"))
    name = script(tmp_path, "print('chatter'); print('[3, 3]'); answer({'twice': 2 * asked['x']})")
    assert scripts.ask(python, name, {"x": 4}, "parts") == {"twice": 8}
    assert json.loads((tmp_path / "progress").read_text()) == {"done": 3, "total": 3, "unit": "parts"}


def test_ask_scrubs_the_environment(python: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    seen = scripts.ask(python, script(tmp_path, "answer(dict(os.environ))"), {}, "parts")
    assert not {"RANK", "PYTHONPATH"} & seen.keys()
    assert seen["PYTHONHASHSEED"] == "0"


def test_ask_script_that_gives_up_is_told_in_one_line(python: Environment, tmp_path: Path):
    name = script(tmp_path, "answer({'problem': 'ValueError: no such layer'})")
    with pytest.raises(
        UserError, match=r"llmcompressor: cannot do this \(got ValueError: no such layer\).*log"
    ) as told:
        scripts.ask(python, name, {}, "parts")
    assert len(str(told.value).splitlines()) == 1


def test_ask_script_that_is_killed_or_ends_is_told(python: Environment, tmp_path: Path):
    with pytest.raises(UserError, match=r"was killed \(got signal 9\). Most likely memory ran out"):
        scripts.ask(python, script(tmp_path, "os.kill(os.getpid(), 9)"), {}, "parts")
    with pytest.raises(UserError, match=r"ended \(got exit status 4\)"):
        scripts.ask(python, script(tmp_path, "sys.exit(4)"), {}, "parts")
