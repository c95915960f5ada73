"""scripts/retrain.sh with a burnish that only says what it was asked."""

import fcntl
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts" / "retrain.sh"
BURNISH = """#!/usr/bin/env bash
printf '%s\\n' "$*" >>"$CALLS"
[[ $1 == lock ]] && exit "${LOCK_CODE:-0}"
echo progress >&2
cat "$ANSWER"
exit "${RUN_CODE:-0}"
"""


@pytest.fixture
def night(tmp_path: Path) -> Path:
    """A folder with a recipe and a `burnish` that records its calls and answers with answer.json."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "burnish").write_text(BURNISH)
    (tmp_path / "bin" / "burnish").chmod(0o755)
    (tmp_path / "recipe.yaml").write_text("burnish: 1\n")
    (tmp_path / "calls").touch()
    return tmp_path


def retrain(night: Path, *arguments: str, answer: dict[str, Any] | str = "", **variables: str) -> Any:
    text = answer if isinstance(answer, str) else json.dumps(answer)
    (night / "answer.json").write_text(text)
    path = f"{night / 'bin'}:{os.environ['PATH']}"
    environment = {"PATH": path, "CALLS": str(night / "calls"), "ANSWER": str(night / "answer.json"), **variables}
    command = [str(SCRIPT), *(arguments or ("recipe.yaml",))]
    return subprocess.run(command, cwd=night, env=environment, capture_output=True, text=True, timeout=60)


def calls(night: Path) -> list[str]:
    return (night / "calls").read_text().splitlines()


def answer(**changes: Any) -> dict[str, Any]:
    told = {
        "recipe": "r", "exit": 0, "run": "/runs/1", "verdict": "PASS", "held_back": [],
        "artifacts": {"report": {"kind": "report", "path": "/a/report-1"}}, "problems": [],
    }  # fmt: skip
    return told | changes


def test_retrain_of_new_data_locks_then_runs_what_is_locked(night: Path) -> None:
    done = retrain(night, "recipe.yaml", "--set", "seed=3", "--processes", "2", answer=answer())
    assert done.returncode == 0
    assert calls(night) == [
        "lock recipe.yaml --set seed=3",
        "run recipe.yaml --locked --json --set seed=3 --processes 2",
    ]
    (line,) = done.stdout.splitlines()
    assert line.endswith(" retrain recipe.yaml: done; verdict PASS; report /a/report-1/report.md (exit 0)")
    assert "progress" in done.stderr


def test_retrain_with_nothing_new_says_so(night: Path) -> None:
    done = retrain(night, answer=answer(run=None))
    assert (done.returncode, "done; nothing new; verdict PASS" in done.stdout) == (0, True)


@pytest.mark.parametrize(
    ("code", "told", "words"),
    [
        (
            1,
            answer(verdict=None, problems=["train.tuned: out of memory"]),
            "a stage failed; train.tuned: out of memory",
        ),
        (2, "", "nothing was started"),
        (
            3,
            answer(verdict="FAIL", held_back=["export.ship"]),
            "the gates say no; verdict FAIL; held back: export.ship",
        ),
        (143, answer(verdict=None), "stopped"),
    ],
)
def test_retrain_passes_the_exit_code_through(night: Path, code: int, told: Any, words: str) -> None:
    done = retrain(night, answer=told, RUN_CODE=str(code))
    assert done.returncode == code
    assert words in done.stdout and f"(exit {code})" in done.stdout
    assert len(done.stdout.splitlines()) == 1


def test_retrain_that_cannot_lock_starts_nothing(night: Path) -> None:
    done = retrain(night, LOCK_CODE="2")
    assert done.returncode == 2
    assert calls(night) == ["lock recipe.yaml"]
    assert "cannot be locked" in done.stdout


def test_retrain_while_another_is_at_it_starts_nothing(night: Path) -> None:
    with (night / "recipe.yaml").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = retrain(night, answer=answer())
    assert (done.returncode, calls(night)) == (2, [])
    assert "an earlier run has not ended" in done.stdout
    assert retrain(night, answer=answer()).returncode == 0


def test_retrain_of_a_recipe_that_is_not_there_starts_nothing(night: Path) -> None:
    done = retrain(night, "other.yaml")
    assert (done.returncode, calls(night)) == (2, [])
    assert "no such recipe" in done.stdout


def test_retrain_in_github_actions_sets_outputs(night: Path) -> None:
    retrain(night, answer=answer(), GITHUB_OUTPUT=str(night / "outputs"))
    assert (night / "outputs").read_text() == "verdict=PASS\nreport=/a/report-1/report.md\nfolder=/a/report-1\n"
