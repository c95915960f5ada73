"""What `burnish plan` prints of gates, and what it must not import for that."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.cli.main import main
from tests.unit.recipe.project import RECIPE, SUITE, make

WHEEL = RECIPE.replace("{path: base}", "{wheel: some-model==1.0, gguf: x.gguf}")
HEAVY = {"torch", "transformers", "datasets", "peft", "trl", "lm_eval", "accelerate", "numpy", "pandas", "scipy"}
LIST_HEAVY = f"""
import sys
from pipelines.cli.main import main
main(["plan", sys.argv[1]])
sys.stderr.write(",".join(sorted({HEAVY} & sys.modules.keys())) or "light")
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BURNISH_HOME", str(tmp_path / "home"))
    path = make(tmp_path, WHEEL.replace("rule: improve, by: 0.1", "rule: no_regression, margin: 0.02"))
    (tmp_path / "evals" / "test.yaml").write_text(SUITE.replace("metric: acc", "metric: acc, limit: 300"))
    return path


def test_plan_says_what_a_gate_cannot_see_after_the_steps(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(recipe)]) == 0
    lines = capsys.readouterr().out.splitlines()
    found = [line for line in lines if line.startswith("gate ") and "cannot see" in line]
    assert len(found) == 1
    assert "; this suite cannot see the regression you asked about: n = 3,0" in found[0]
    assert lines.index(found[0]) > next(i for i, line in enumerate(lines) if line.endswith("never timed."))


def test_plan_json_has_the_gates(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(recipe), "--json"]) == 0
    gate, other = json.loads(capsys.readouterr().out)["gates"]
    assert {key: gate[key] for key in ("name", "suite", "rule", "threshold", "n")} == {
        "name": "skill/acc", "suite": "test", "rule": "no_regression", "threshold": 0.02, "n": 300,
    }  # fmt: skip
    assert gate["mde"] > 0.06 and gate["needed"] > 2500
    assert (other["name"], other["mde"]) == ("prose/bits_per_byte", None)


def test_plan_of_a_part_without_the_gates_says_nothing_of_them(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(recipe), "--only", "chats", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["gates"] == []


def test_plan_with_gates_imports_nothing_heavy(recipe: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LIST_HEAVY, str(recipe)], capture_output=True, text=True, check=True)
    assert done.stderr == "light" and "cannot see the regression" in done.stdout
