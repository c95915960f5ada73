import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.cli.main import VERBS, main
from tests.unit.recipe.project import RECIPE, make

HEAVY = {"torch", "transformers", "datasets", "peft", "trl", "lm_eval", "accelerate"}
LIST_HEAVY = f"""
import sys
from pipelines.cli.main import main
try:
    code = main(sys.argv[1:])
except SystemExit as stop:
    code = stop.code
sys.stderr.write(",".join(sorted({HEAVY} & sys.modules.keys())) or "light")
sys.exit(code)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["run", "--help"],
        ["inspect", "--help"],
        ["validate", "RECIPE"],
        ["plan", "RECIPE"],
        ["explain", "RECIPE", "train"],
        ["schema"],
        ["doctor"],
    ],
)
def test_light_verbs_import_nothing_heavy(tmp_path: Path, arguments: list[str]) -> None:
    recipe = make(tmp_path, RECIPE.replace("{path: base}", "{wheel: some-model==1.0, gguf: x.gguf}"))
    words = [str(recipe) if word == "RECIPE" else word for word in arguments]
    done = subprocess.run([sys.executable, "-c", LIST_HEAVY, *words], capture_output=True, text=True, check=False)
    assert done.stderr.endswith("light"), done.stderr
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_verb_has_a_module_with_both_functions(verb: str) -> None:
    module = importlib.import_module(VERBS[verb][0])
    assert callable(module.add_arguments) and callable(module.main)
    assert module.__doc__


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {verb} " in printed for verb in VERBS)


def test_no_verb_prints_the_help_and_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: burnish" in capsys.readouterr().out


@pytest.mark.parametrize(("word", "said"), [("rnu", "Did you mean 'run'?"), ("zzz", "Verbs: init, validate")])
def test_unknown_verb_is_wrong_and_suggests(word: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word]) == 2
    assert said in capsys.readouterr().err


def test_mistakes_are_lines_on_stderr_and_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = make(tmp_path, RECIPE.replace("seed:", "sed:").replace("rank: 8", "rank: 0"))
    assert main(["validate", str(recipe)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert [line.split(": ")[1] for line in printed.err.splitlines()] == ["sed", "train.tuned.method.rank"]


def test_mistakes_under_json_are_data_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(make(tmp_path, RECIPE.replace("seed:", "sed:"))), "--json"]) == 2
    assert len(json.loads(capsys.readouterr().out)["problems"]) == 1


def test_interrupt_ends_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipelines.cli.validate.load", interrupted)
    assert main(["validate", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "Interrupted.\n"


def test_python_m_pipelines_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "pipelines", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: burnish")


def test_pipe_that_closes_early_is_no_error(tmp_path: Path) -> None:
    command = f"{sys.executable} -m pipelines explain {make(tmp_path)} | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.startswith("burnish")


def test_missing_library_is_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def missing(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'huggingface_hub'", name="huggingface_hub")

    monkeypatch.setattr("pipelines.cli.validate.load", missing)
    assert main(["validate", "recipe.yaml"]) == 2
    assert "huggingface_hub is not installed" in capsys.readouterr().err
