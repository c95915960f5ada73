"""What the command says of bad input: one line a problem, exit 2, nothing started, nothing lost."""

import fcntl
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.cli.main import main
from tests.e2e.project import RECIPE, make

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    make(folder)
    return folder


@pytest.fixture
def project(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the pico project, and the user in it."""
    folder = tmp_path / "project"
    shutil.copytree(whole, folder)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("BURNISH_HOME", raising=False)
    monkeypatch.delenv("BURNISH_ENVS", raising=False)
    return folder


def _recipe(old: str, new: str) -> Callable[[], object]:
    assert old in RECIPE
    return lambda: Path("recipe.yaml").write_text(RECIPE.replace(old, new))


def _row(row: object) -> Callable[[], object]:
    """A row in the middle of the chats: line 21."""

    def put() -> None:
        lines = Path("chats.jsonl").read_text().splitlines()
        lines.insert(20, row if isinstance(row, str) else json.dumps(row))
        Path("chats.jsonl").write_text("\n".join(lines) + "\n")

    return put


def _talk(*roles: str) -> dict[str, object]:
    return {"messages": [{"role": role, "content": "words"} for role in roles]}


def _cut(name: str, size: int) -> Callable[[], object]:
    return lambda: Path(name).write_bytes(Path(name).read_bytes()[:size])


MISTAKES: dict[str, tuple[Callable[[], object], str]] = {
    "key": (_recipe("epochs: 2", "epohcs: 2"), "recipe.yaml:20: train.tuned.epohcs: unknown key. Did you mean"),
    "name": (_recipe("use: whole", "use: whol"), "recipe.yaml:26: merge.both.models.1.use: no entry has this name"),
    "kind": (_recipe("on: chats\n", "on: tuned\n"), "recipe.yaml:17: train.tuned.on: wants a dataset"),
    "cycle": (_recipe("[{use: tuned}], ", "[{use: kept}], "), "recipe.yaml:27: merge.kept: entries are made from"),
    "yaml": (_recipe("train:", "train: ["), "recipe.yaml:17: is not YAML"),
    "no data": (Path("chats.jsonl").unlink, "recipe.yaml:7: data.chats.source.files: there is no such file"),
    "empty data": (_cut("chats.jsonl", 0), "recipe.yaml:7: data.chats: chats.jsonl: holds no rows"),
    "cut row": (_row('{"messages": ['), "chats.jsonl:21: is not JSON: Expecting value at character 15 (got"),
    "no answer": (_row(_talk("user")), "chats.jsonl:21: has no assistant turn"),
    "order": (_row(_talk("user", "user", "assistant")), "chats.jsonl:21: has its roles out of order"),
    "no tokenizer": (Path("base/tokenizer.json").unlink, "recipe.yaml:4: base: "),
    "no template": (Path("base/chat_template.jinja").unlink, "recipe.yaml:7: data.chats: needs a chat template"),
    "no weights": (Path("base/model.safetensors").unlink, "holds no safetensors weights"),
    "cut weights": (_cut("base/model.safetensors", 60_000), "is truncated (got 60000 bytes"),
    "empty text": (_cut("words.txt", 0), "evals/dev.yaml:3: evaluate.suites.dev.texts.words: has no documents"),
    "text": (lambda: Path("words.txt").write_bytes(b"caf\xe9"), "words.txt: is not UTF-8 (got byte 3)"),
    "task": (lambda: Path("evals/capitals.yaml").write_text("a: [\n"), "evals/capitals.yaml:2: is not YAML"),
    "format": (
        _recipe("formats: [safetensors]", "formats: [safetensors, fp8]"),
        "recipe.yaml:37: export.ship.formats: the environment 'llmcompressor' is not installed",
    ),
    "engine": (_recipe("formats: [safetensors]", "engines: [vllm]"), "Install it: burnish doctor --install vllm"),
    "gate through what is served": (
        _recipe("metric: capitals/acc, rule", "metric: capitals/acc, through: ship, rule"),
        "recipe.yaml:30: evaluate: backend: the environment 'vllm' is not installed",
    ),
    "no documents": (_cut("evals/capitals.jsonl", 0), "evaluate.suites.test.tasks.capitals: the documents are empty"),
}


@pytest.mark.parametrize("verb", ["validate", "run"])
@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_is_told_and_nothing_is_started(project: Path, name: str, verb: str, capsys: Captured) -> None:
    make_it, said = MISTAKES[name]
    make_it()
    assert main([verb, "recipe.yaml"]) == 2
    assert said in capsys.readouterr().err
    assert not (project / ".burnish/runs").exists() and not (project / ".burnish/artifacts").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "nope.yaml"], "nope.yaml: there is no such file"),
        (["run", "evals"], "evals: cannot be read"),
        (["run", "recipe.yaml", "--set", "train.tuned.epochs=two"], "train.tuned.epochs: must be a number (got 'two')"),
        (["run", "recipe.yaml", "--locked"], "recipe.yaml: there is no lock of this recipe"),
        (["run", "recipe.yaml", "--only", "tund"], "--only: no such stage (got tund). Did you mean tuned?"),
        (["show", "recipe.yaml", "tund"], "NAME: no such stage (got tund). Did you mean tuned?"),
    ],
)
def test_wrong_words_are_a_line(project: Path, words: list[str], said: str, capsys: Captured) -> None:
    assert main(words) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["run", "recipe.yaml", "--processes", "0"], ["inspect", "recipe.yaml", "chats", "--rows", "-1"]]
)
def test_numbers_below_one_are_refused(project: Path, words: list[str], capsys: Captured) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert "at least 1" in capsys.readouterr().err


def test_hub_name_offline_is_refused(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(project / "hub"))
    _recipe("{path: base}", "{hub: some/model}")()
    assert main(["run", "recipe.yaml", "--offline"]) == 2
    assert "some/model@main is not in the local cache" in capsys.readouterr().err


def test_artifact_that_another_run_writes_is_refused_before_the_start(project: Path, capsys: Captured) -> None:
    assert main(["plan", "recipe.yaml", "--json"]) == 0
    step = json.loads(capsys.readouterr().out)["steps"][1]
    lock = project / ".burnish" / "locks" / f"{step['stage']}-{step['key'][:12]}"
    lock.parent.mkdir()
    with lock.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        other.write("4711")
        other.flush()
        assert main(["run", "recipe.yaml", "--json"]) == 2
    told = capsys.readouterr()
    line = (
        f"{step['name']}: another run is writing this artifact (got process 4711). Wait for that run to end, or stop it"
    )
    assert told.err == f"{line}\nNothing was started.\n"
    assert json.loads(told.out) == {"problems": [line]}
    assert not (project / ".burnish/runs").exists()


def test_store_that_cannot_be_written_is_a_line(project: Path, capsys: Captured) -> None:
    (project / ".burnish").write_text("")
    assert main(["run", "recipe.yaml"]) == 2
    assert capsys.readouterr().err.endswith(".burnish: file exists. Check the path and its permissions\n")
