import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from pipelines.cli.main import main
from pipelines.cli.push import clashes, planned
from pipelines.engine.stage import Artifact
from pipelines.recipe.load import load
from pipelines.recipe.recipe import Recipe
from tests.unit.export.fake_hub import WRITER, FakeHub, Repo, fake_hub
from tests.unit.recipe.project import RECIPE, make

GATED = RECIPE.replace("ship: {model: best}", "ship: {model: best, formats: FORMATS, hub: {repo: me/model}}")
PLAIN = """\
burnish: 1
name: plain
base: {path: BASE}
export:
  ship: {model: base, hub: {repo: me/model}}
report: {formats: [markdown]}
"""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with fake_hub() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", WRITER)
        yield server


def gated(folder: Path, formats: str = "[safetensors]", more: str = "") -> Recipe:
    return load(make(folder, GATED.replace("FORMATS", formats).replace("repo: me/model}", f"repo: me/model}}{more}")))


def exported(folder: Path, identity: str, name: str, **metrics: object) -> Artifact:
    """An export artifact with one file in the folder of that name."""
    path = folder / identity
    (path / name).mkdir(parents=True)
    (path / name / "config.json").write_text(name)
    return Artifact(identity, "export", path, identity, {"folder": name, **metrics})


def verdict(blocks: bool) -> Artifact:
    return Artifact("gate", "verdict", Path(), "key", {"verdict": "FAIL" if blocks else "PASS", "blocks": blocks})


def passed(path: Path) -> dict[str, Artifact]:
    """A verdict that passes, and an export in two formats."""
    formats = {"export.ship": "safetensors", "export.ship.int8": "int8"}
    made = {identity: exported(path, identity, name) for identity, name in formats.items()}
    return {"gate": verdict(False), **made}


def test_planned_after_a_verdict_that_passes_is_every_format_by_its_repository(tmp_path: Path) -> None:
    recipe = gated(tmp_path, "[safetensors, int8]")
    artifacts = passed(tmp_path)
    wanted, forbidden = planned(recipe, artifacts)
    assert forbidden == ""
    assert {push.repo: push.formats for push in wanted} == {"me/model": ("safetensors",), "me/model-INT8": ("int8",)}
    assert wanted[1].files == {"config.json": tmp_path / "export.ship.int8" / "int8" / "config.json"}


def test_planned_of_a_format_that_is_not_shipped_is_nothing(tmp_path: Path) -> None:
    recipe = gated(tmp_path, "[int8]")
    artifacts = passed(tmp_path)
    assert [push.repo for push in planned(recipe, artifacts)[0]] == ["me/model-INT8"]


def test_planned_of_a_choice_is_the_level_picked_and_none_that_was_only_tried(tmp_path: Path) -> None:
    quantize = ", quantize: {levels: [fp8, int8], suite: dev, max_drop: {general: 0.1}}"
    recipe = gated(tmp_path, more=quantize)
    artifacts = {
        "gate": verdict(False),
        "export.ship": exported(tmp_path, "export.ship", "safetensors"),
        "export.ship.int8": exported(tmp_path, "export.ship.int8", "int8"),
        "export.ship.fp8": exported(tmp_path, "export.ship.fp8", "fp8"),
        "export.ship.chosen": exported(tmp_path, "export.ship.chosen", "fp8", picked="fp8"),
    }
    wanted, _ = planned(recipe, artifacts)
    assert [push.repo for push in wanted] == ["me/model", "me/model-FP8"]


@pytest.mark.parametrize(("gate", "said"), [(verdict(True), "say no"), (None, "have not been asked")])
def test_planned_where_the_gates_do_not_say_yes_is_forbidden(tmp_path: Path, gate: Artifact | None, said: str) -> None:
    artifacts = {"export.ship": exported(tmp_path, "export.ship", "safetensors")} | ({"gate": gate} if gate else {})
    assert said in planned(gated(tmp_path), artifacts)[1]


def test_clashes_are_entries_that_go_to_one_repository(tmp_path: Path) -> None:
    other = "\n  too: {model: tuned, formats: [safetensors, int8], hub: {repo: Me/model}}"
    recipe = make(tmp_path, GATED.replace("FORMATS", "[safetensors]").rstrip() + other + "\n")
    (problem,) = clashes(load(recipe))
    assert "recipe.yaml:24: export.too.hub.repo: goes to Me/model as 'ship' does" in str(problem)
    assert main(["validate", str(recipe)]) == 2


@pytest.mark.parametrize(
    ("words", "token", "said"),
    [
        (["--offline"], WRITER, "nothing is pushed offline"),
        ([], "", "no token"),
        ([], "hf_bad", "does not know the token"),
    ],
)
def test_run_that_could_not_push_in_the_end_is_not_started(
    tmp_path: Path,
    pico_base: Path,
    hub: FakeHub,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    token: str,
    said: str,
) -> None:
    monkeypatch.setenv("BURNISH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(PLAIN.replace("BASE", str(pico_base)))
    assert main(["run", str(recipe), "--yes", *words]) == 2
    printed = capsys.readouterr().err
    assert said in printed and "Nothing was started" in printed
    assert not (tmp_path / "home" / "runs").exists()


@pytest.mark.slow
def test_run_pushes_with_yes_alone_and_keeps_what_it_pushed(
    tmp_path: Path, pico_base: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BURNISH_HOME", str(tmp_path / "home"))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(PLAIN.replace("BASE", str(pico_base)))
    assert main(["run", str(recipe)]) == 0
    printed = capsys.readouterr().out
    assert "Would push safetensors" in printed and "me/model, private, branch main" in printed and "--yes" in printed
    assert hub.requests == []

    assert main(["run", str(recipe), "--yes", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    repo = hub.repos["me/model"]
    shipped = Path(told["artifacts"]["export.ship"]["path"]) / "safetensors"
    assert {path.name: path.read_bytes() for path in shipped.iterdir()} == {
        path: data for path, data in repo.head().items() if path != ".gitattributes"
    }
    (pushed,) = told["pushed"]
    assert pushed["commit"] == repo.sha() and pushed["repo"] == "me/model"
    assert json.loads((Path(told["run"]) / "pushed.json").read_text()) == [pushed]

    assert main(["run", str(recipe), "--yes"]) == 0
    assert "Nothing new" in capsys.readouterr().out
    assert len(repo.commits["main"]) == 2

    hub.repos["me/model"] = Repo(False)
    assert main(["run", str(recipe), "--yes"]) == 1
    assert "me/model: is public" in capsys.readouterr().err
    kept = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert not [path for path in kept if WRITER.encode() in path.read_bytes()]
