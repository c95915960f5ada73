import json
from pathlib import Path

import pytest

from pipelines.cli.main import main
from tests.unit.recipe.project import RECIPE, make

Captured = pytest.CaptureFixture[str]
WHEEL = RECIPE.replace("{path: base}", "{wheel: some-model==1.0, gguf: x.gguf}")


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BURNISH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def test_validate_sound_recipe_counts_stages(tmp_path: Path, capsys: Captured) -> None:
    make(tmp_path, WHEEL)
    assert main(["validate", "recipe.yaml"]) == 0
    assert capsys.readouterr().out == "recipe.yaml is fine: 17 stages.\n"


def test_validate_says_what_the_rooms_find_with_the_line(tmp_path: Path, capsys: Captured) -> None:
    make(tmp_path, WHEEL.replace("some-model==1.0", "some-model").replace("rank: 8}", "rank: 8}, batch_size: 3"))
    assert main(["validate", "recipe.yaml", "--set", "train.tuned.micro_batch_size=2"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("recipe.yaml:3: base.wheel: is not pinned")
    assert lines[1].startswith("recipe.yaml:10: train.tuned.batch_size: does not split evenly")


def test_explain_one_value_prints_all_that_is_known(tmp_path: Path, capsys: Captured) -> None:
    make(tmp_path)
    assert main(["explain", "recipe.yaml", "train.tuned.learning_rate"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "train.tuned.learning_rate = 0.001",
        "  from     recipe.yaml:10",
        "  default  null",
        "  meaning  Peak learning rate.",
    ]


def test_explain_json_is_a_list(tmp_path: Path, capsys: Captured) -> None:
    make(tmp_path)
    assert main(["explain", "recipe.yaml", "train.tuned.method", "--json"]) == 0
    assert {one["path"] for one in json.loads(capsys.readouterr().out)} >= {"train.tuned.method.rank"}


def test_schema_is_json(capsys: Captured) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "Burnish recipe"


def test_lock_writes_beside_the_recipe(tmp_path: Path, capsys: Captured) -> None:
    make(tmp_path)
    assert main(["lock", "recipe.yaml"]) == 0
    assert capsys.readouterr().out == "recipe.lock.json: 0 hub names and 3 files pinned.\n"


def test_init_writes_a_recipe_that_is_sound_once_the_data_is_there(tmp_path: Path, capsys: Captured) -> None:
    assert main(["init", "new/first.yaml"]) == 0
    assert main(["validate", "new/first.yaml"]) == 2
    assert "data.chats.source.files: there is no such file" in capsys.readouterr().err
    (tmp_path / "new" / "data").mkdir()
    row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    (tmp_path / "new" / "data" / "train.jsonl").write_text(json.dumps(row) + "\n")
    assert main(["validate", "new/first.yaml"]) == 0
    assert (tmp_path / "new" / ".gitignore").read_text() == ".burnish/\n"
    assert "name: first\n" in (tmp_path / "new" / "first.yaml").read_text()


def test_init_overwrites_nothing(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "recipe.yaml").write_text("mine")
    assert main(["init"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert (tmp_path / "recipe.yaml").read_text() == "mine"


def test_init_keeps_what_is_ignored_already(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("*.pyc\n/.burnish/")
    assert main(["init"]) == 0
    assert (tmp_path / ".gitignore").read_text() == "*.pyc\n/.burnish/"


def test_show_says_what_is_not_made_yet(tmp_path: Path, capsys: Captured) -> None:
    make(tmp_path)
    assert main(["show", "recipe.yaml", "tuned"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("train.tuned  adapter, run\n  path     -  (not made yet)\n")
    assert "  changed  never made\n" in printed
    assert "  from     replay.own  not made yet\n" in printed


def test_show_unknown_name_suggests(tmp_path: Path, capsys: Captured) -> None:
    make(tmp_path)
    assert main(["show", "recipe.yaml", "tunde"]) == 2
    assert "tuned" in capsys.readouterr().err


def test_inspect_refuses_what_has_no_rows(tmp_path: Path, capsys: Captured) -> None:
    make(tmp_path)
    assert main(["inspect", "recipe.yaml", "tuned"]) == 2
    assert "train.tuned: makes no rows (got adapter)" in capsys.readouterr().err


def test_inspect_refuses_what_is_not_made(tmp_path: Path, capsys: Captured) -> None:
    make(tmp_path)
    assert main(["inspect", "recipe.yaml", "chats"]) == 2
    assert "Run: burnish run recipe.yaml --only data.chats" in capsys.readouterr().err


def test_explain_below_a_value_that_is_not_set_names_the_value(tmp_path: Path, capsys: Captured) -> None:
    make(tmp_path)
    assert main(["explain", "recipe.yaml", "export.ship.hub.repo"]) == 2
    assert capsys.readouterr().err == "recipe.yaml: export.ship.hub has no 'repo'. Ask for export.ship.hub\n"
