"""What the verbs say of exports: their levels, gates through them, environments that are not there, where they are."""

import json
from pathlib import Path

import pytest

from pipelines.cli.main import main
from pipelines.cli.served import where
from pipelines.engine.stage import Artifact
from tests.unit.recipe.project import RECIPE, make

Captured = pytest.CaptureFixture[str]
TEXT = (
    RECIPE.replace("{path: base}", "{wheel: some-model==1.0, gguf: x.gguf}")
    .replace("rule: improve,", "rule: improve, through: ship.int8,")
    .replace("{model: best}", "{model: best, formats: [safetensors, int8], quantize: auto}")
)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project without any environment of other tools."""
    monkeypatch.setenv("BURNISH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BURNISH_ENVS", str(tmp_path / "envs"))
    monkeypatch.chdir(tmp_path)
    make(tmp_path, TEXT)


def test_plan_has_every_level_the_choice_and_the_gate_through_the_export(capsys: Captured) -> None:
    assert main(["plan", "recipe.yaml"]) == 2
    told = capsys.readouterr()
    names = [line.split()[0] for line in told.out.splitlines()]
    for name in (
        "export.ship.int8",
        "evaluate.best@test.ship.int8",
        "evaluate.ship.fp8@dev.ship",
        "export.ship.chosen",
    ):
        assert name in names
    assert names.index("export.ship.int8") < names.index("gate") < names.index("export.ship.fp8")
    assert "gate skill/acc (test.ship.int8) improve by 10.0 points: " in told.out


def test_environments_that_are_not_there_are_told_with_what_installs_them(capsys: Captured) -> None:
    assert main(["validate", "recipe.yaml"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert any(
        line.startswith("recipe.yaml:23: export.ship.formats: the environment 'llmcompressor' is not installed")
        and line.endswith("Install it: burnish doctor --install llmcompressor")
        for line in told
    )
    assert [line.partition(":")[2].split(":")[0] for line in told] == ["16", "23", "23"]
    assert told[0].startswith("recipe.yaml:16: evaluate: backend: the environment 'vllm' is not installed")


def test_backend_that_is_not_installed_is_told_where_it_is_asked_for(tmp_path: Path, capsys: Captured) -> None:
    text = RECIPE.replace("{path: base}", "{wheel: some-model==1.0, gguf: x.gguf}")
    Path("recipe.yaml").write_text(text.replace("  models: [whole]", "  backend: {kind: vllm}"))
    for name in ("dev", "test"):
        suite = tmp_path / "evals" / f"{name}.yaml"
        suite.write_text(suite.read_text().partition("drift")[0])
    assert main(["validate", "recipe.yaml"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("recipe.yaml:18: evaluate.backend: the environment 'vllm' is not installed")


def test_run_starts_nothing_without_the_environments(tmp_path: Path, capsys: Captured) -> None:
    assert main(["run", "recipe.yaml"]) == 2
    assert "burnish doctor --install llmcompressor" in capsys.readouterr().err
    assert not list((tmp_path / "home").glob("runs/*")) and not list((tmp_path / "home").glob("artifacts/*"))


@pytest.mark.parametrize(("name", "stage"), [("ship", "export"), ("ship.int8", "quantize"), ("ship.chosen", "choose")])
def test_show_knows_an_export_and_its_parts(name: str, stage: str, capsys: Captured) -> None:
    assert main(["show", "recipe.yaml", name, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["name"], told["stage"], told["kind"]) == (f"export.{name}", stage, "export")


def test_explain_tells_the_default_of_quantize_auto(capsys: Captured) -> None:
    assert main(["explain", "recipe.yaml", "export.ship.quantize.max_drop"]) == 0
    told = capsys.readouterr().out
    assert "default: 0.01 in target and in general" in told
    assert main(["explain", "recipe.yaml", "gates.0.through"]) == 0
    assert "gates.0.through = ship.int8\n  from     recipe.yaml:20" in capsys.readouterr().out


def test_export_is_told_with_its_folder_and_the_line_that_serves_it(tmp_path: Path) -> None:
    folder = tmp_path / "home" / "export-1" / "safetensors"
    folder.mkdir(parents=True)
    export = Artifact("export.ship", "export", folder.parent, "k", {"folder": "safetensors"})
    assert list(where(export)) == ["export.ship: home/export-1/safetensors"]
    command = ["vllm", "serve", ".", "--dtype", "float32"]
    (folder / "SERVING.json").write_text(json.dumps({"vllm": {"command": command}}))
    assert list(where(export))[1] == "  vllm serve home/export-1/safetensors --dtype float32"
    (folder / "SERVING.json").write_text(json.dumps({"llama.cpp": {"command": ["llama-server"]}}))
    assert len(list(where(export))) == 1
    export.metrics["adapter"] = {"shipped": True, "why": []}
    assert list(where(export))[1] == "  its adapter: home/export-1/adapter"
    export.metrics["adapter"] = {"shipped": False, "why": ["has a rank above 512"]}
    assert list(where(export))[1] == "  its adapter: not shipped by itself: has a rank above 512"
    assert list(where(Artifact("report", "report", tmp_path / "home", "k"))) == ["report: home"]
