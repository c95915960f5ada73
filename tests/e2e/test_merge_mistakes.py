"""What the command says of merges that cannot be: one line a problem and no traceback, at the latest when they run."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pipelines.cli.main import main
from tests import pico
from tests.e2e.project import command, environment
from tests.unit.merge.conftest import save_lora
from tests.unit.merge.models import Tensors, cast, edited, tensors

pytestmark = pytest.mark.slow

Captured = pytest.CaptureFixture[str]

TENSOR = "model.layers.0.mlp.up_proj.weight"
MANY = [f"many{at}" for at in range(10)]
RECIPE = """
burnish: 1
name: mistakes
base: {path: base}
merge:
"""
TIES = "method: {kind: ties}"


def _used(*names: str) -> str:
    kinds = {name: "adapter" if name.startswith("lora") else "path" for name in names}
    return "models: [" + ", ".join(f"{{use: {{{kind}: {name}}}}}" for name, kind in kinds.items()) + "]"


REFUSED: dict[str, tuple[str, str]] = {
    "architecture": (_used("one", "mistral"), "mistral-... is another architecture than the base: model_type (got mis"),
    "layers": (_used("one", "deeper"), "deeper-... is another architecture than the base: num_hidden_layers (got 3, "),
    "size": (_used("one", "wider"), "wider-... has another shape than the base in 20 tensors (got model.embed_tokens"),
    "vocabulary": (_used("one", "vocabulary"), "is another architecture than the base: vocab_size (got 500, base has"),
    "tokenizer": (_used("one", "swapped"), "swapped-... has another tokenizer than base, so its rows stand for other "),
    "untied": (_used("one", "untied"), "untied-... ties its embeddings otherwise than the base (got tie_word_embedd"),
    "stranger": (_used("one", "stranger"), "stranger-... does not descend from base: it differs from it by 1.4"),
    "missing": (_used("one", "missing"), f"missing-... lacks 1 tensor that the base has (got {TENSOR}). Merge models"),
    "extra": (_used("one", "extra"), "extra-... has 1 tensor that the base lacks (got model.more.weight). Merge mod"),
    "nan": (_used("one", "broken"), f"broken-... tensor {TENSOR} holds NaN or infinite values. This model is broken"),
    "adapter": (_used("lora", "lora_wide"), "lora_wide-... does not fit model.layers.0."),
    "pattern": (
        _used("one") + ", method: {kind: ties, lambda: {'*.mpl.*': 0.5}}",
        "merge.pattern.method.lambda: no tensor has a name that fits the pattern (got *.mpl.*). Names are like model",
    ),
    "late": (
        _used("one") + ", method: {kind: ties, lambda: {'*': 1, '*.mlp.*': 0.5}}",
        "merge.late.method.lambda: patterns before it take every tensor that the pattern fits, and the first that fit",
    ),
    "device": (
        _used("one") + f", {TIES}, device: 'cuda:77'",
        "merge.device.device: is not on this machine (got cuda:77",
    ),
    "range": (
        _used("one", "two") + ", method: {kind: task_arithmetic, lambda: 1.0e+30}, dtype: float16",
        "merged values do not fit F16. Set dtype: bfloat16 or float32",
    ),
}
MADE = {
    "types": (_used("one", "bf16", "fp16"), []),
    "alone": (_used("one"), []),
    "twelve": (_used("one", "two", *MANY), []),
    "twice": ("models: [{use: {path: one}}, {use: {path: one}}]", ["base:one-... is merged 2 times"]),
    "everything": (_used("one") + ", method: {kind: ties, density: 1}", []),
    "nothing": (_used("one") + ", method: {kind: ties, density: 0}", []),
    "none": (_used("one") + ", method: {kind: interpolate, alpha: 0}", ["what was made is base, bit for bit"]),
    "lender": (
        _used("lora", "lora_other") + ", method: {kind: cat}, output: adapter",
        ["base:lora_other-... says that it was trained on acme/other, and it is merged on base (base): that is right"],
    ),
}
MERGES = {name: text for name, (text, _) in (REFUSED | MADE).items()}


def _entries() -> str:
    return "".join(f"  {name}: {{{text}{'' if 'method' in text else f', {TIES}'}}}\n" for name, text in MERGES.items())


def _without(weights: Tensors) -> Tensors:
    return {name: tensor for name, tensor in weights.items() if name != TENSOR}


def _broken(weights: Tensors) -> Tensors:
    weights[TENSOR][1, 2] = torch.nan
    return weights


def _write_models(folder: Path) -> None:
    base = pico.save_model(folder / "base", 0)
    one = pico.save_tuned(base, folder / "one", 1, 0.002)
    two = pico.save_tuned(base, folder / "two", 2, 0.002)
    for at, name in enumerate(MANY):
        pico.save_tuned(base, folder / name, 10 + at, 0.002)
    edited(one, folder / "mistral", dict, model_type="mistral", architectures=["MistralForCausalLM"])
    pico.save_model(folder / "deeper", 1, num_hidden_layers=3)
    pico.save_model(folder / "wider", 1, hidden_size=64)
    pico.save_model(folder / "vocabulary", 1, vocab_size=500)
    pico.save_model(folder / "untied", 1, tie_word_embeddings=False)
    pico.save_model(folder / "stranger", 1)
    edited(one, folder / "missing", _without)
    edited(one, folder / "extra", lambda weights: weights | {"model.more.weight": torch.ones(2)})
    edited(one, folder / "broken", _broken)
    cast(one, folder / "bf16", torch.bfloat16)
    cast(two, folder / "fp16", torch.float16)
    words = edited(one, folder / "swapped", dict) / "tokenizer.json"
    tokenizer = json.loads(words.read_text())
    ids = tokenizer["model"]["vocab"]
    ids["a"], ids["b"] = ids["b"], ids["a"]
    words.write_text(json.dumps(tokenizer))
    save_lora(base, folder / "lora")
    save_lora(folder / "wider", folder / "lora_wide")
    other = save_lora(base, folder / "lora_other", seed=1) / "adapter_config.json"
    other.write_text(json.dumps(json.loads(other.read_text()) | {"base_model_name_or_path": "acme/other"}))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One recipe with every merge in it, and all models in its store."""
    folder = tmp_path_factory.mktemp("mistakes")
    _write_models(folder)
    (folder / "pyproject.toml").write_text("")
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE + _entries())
    steps = _plan(recipe)
    bases = [word for name, step in steps.items() if step["stage"] == "base" for word in ("--only", name)]
    subprocess.run(command("run", str(recipe), *bases), env=environment(folder / "home"), check=True, timeout=300)
    return folder


def _plan(recipe: Path) -> dict[str, dict]:
    words = command("plan", str(recipe), "--json")
    told = subprocess.run(words, env=environment(recipe.parent / "home"), capture_output=True, text=True, check=True)
    return {step["name"]: step for step in json.loads(told.stdout)["steps"]}


@pytest.fixture
def user(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(project)
    monkeypatch.setenv("BURNISH_HOME", str(project / "home"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return project


def _says(told: str, line: str) -> bool:
    """Whether a text has a line with this in it; dots stand for what tells sources of one name apart."""
    first, _, rest = line.partition("-...")
    return any(first in one and rest.lstrip(":") in one.partition(first)[2] for one in told.splitlines())


def _folder(project: Path, name: str) -> Path:
    return project / "home" / "artifacts" / f"merge-{_plan(project / 'recipe.yaml')[f'merge.{name}']['key'][:12]}"


@pytest.mark.parametrize("name", REFUSED)
def test_merge_that_cannot_be_is_refused_in_a_line(user: Path, name: str, capsys: Captured) -> None:
    assert main(["run", "recipe.yaml", "--only", f"merge.{name}"]) == 1
    told = "".join(capsys.readouterr())
    assert _says(told, REFUSED[name][1]), told
    assert f": merge.{name}" in told and "Traceback" not in told and "defect" not in told


@pytest.mark.parametrize("name", MADE)
def test_merge_that_can_be_is_made(user: Path, name: str, capsys: Captured) -> None:
    assert main(["run", "recipe.yaml", "--only", f"merge.{name}"]) == 0
    capsys.readouterr()
    assert main(["show", "recipe.yaml", name, "--json"]) == 0
    notes = json.loads(capsys.readouterr().out)["metrics"]["notes"]
    assert len(notes) == len(MADE[name][1]) and all(map(_says, notes, MADE[name][1])), notes


WRITTEN: dict[str, tuple[str, str]] = {
    "sum of 0": ("models: [{use: {path: one}, weight: 0}], method: {kind: linear}", "the weights sum to 0, so their"),
    "sum of 0 somewhere": (
        "models: [{use: {path: one}, weight: [0, 1]}, {use: {path: two}, weight: [0, 2]}], method: {kind: karcher}",
        "the weights sum to 0 at some tensors",
    ),
    "nothing": ("models: [{use: {path: one}, weight: 0}], method: {kind: dare}", "all weights are 0, so nothing would"),
    "negative": ("models: [{use: {path: one}, weight: -1}], method: {kind: ties}", "negative weights have no meaning"),
    "negative somewhere": (
        "models: [{use: {path: one}, weight: {'*.mlp.*': [1, -1]}}], method: {kind: linear}",
        "negative weights have no meaning in linear, where they are divided by their sum; use task_arithmetic",
    ),
    "negative in mergekit": (
        "models: [{use: {path: one}, weight: -1}], engine: mergekit, method: {kind: mergekit, name: ties, parameters: "
        "{normalize: true}}",
        "with normalize: true mergekit divides the sign of a negative weight away",
    ),
    "huge": ("models: [{use: {path: one}, weight: 1.7e+308}], method: {kind: linear}", "models.0.weight: must be at m"),
    "density": (
        "models: [{use: {path: one}}], method: {kind: dare, density: 0}",
        "method.density: must be more than 0",
    ),
    "one": ("models: [{use: {path: one}}], method: {kind: model_stock}", "needs at least 2 models, and there are 1"),
    "three": (_used("one", "two", "many0") + ", method: {kind: slerp}", "slerp takes at most 2 models"),
    "no models": ("models: [], method: {kind: ties}", "merge.x.models: must not be empty"),
    "shards": (_used("one") + f", {TIES}, shard_size: 0MB", "shard_size must be more than 0 (got 0MB)"),
    "no adapter": (_used("lora", "one") + ", method: {kind: cat}", "cat merges adapters, but 'base:one-..."),
    "cut": (_used("cut") + f", {TIES}", "cut/model.safetensors: is truncated (got"),
    "cut adapter": (_used("lora_cut") + f", {TIES}", "lora_cut/adapter_model.safetensors: is truncated (got"),
}


@pytest.mark.parametrize("verb", ["validate", "run"])
@pytest.mark.parametrize("name", WRITTEN)
def test_merge_that_makes_no_sense_is_not_started(user: Path, name: str, verb: str, capsys: Captured) -> None:
    for source, cut in (("one", "cut"), ("lora", "lora_cut")):
        if not (user / cut).is_dir():
            shutil.copytree(user / source, user / cut)
            weights = next((user / cut).glob("*.safetensors"))
            weights.write_bytes(weights.read_bytes()[:-100])
    text, line = WRITTEN[name]
    (user / "written.yaml").write_text(f"{RECIPE}  x: {{{text}}}\n")
    assert main([verb, "written.yaml"]) == 2
    told = capsys.readouterr().err
    assert _says(told, line), told
    assert told.startswith("written.yaml:6: merge.x")
    assert told.splitlines()[1:] in ([], ["Nothing was started."])


def _bytes(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "artifact.json"]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def made(user: Path, capsys: Captured) -> tuple[Path, dict[str, str]]:
    """The folder of a merge that was made and then lost, and what was in it."""
    assert main(["run", "recipe.yaml", "--only", "merge.alone"]) == 0
    folder = _folder(user, "alone")
    found = _bytes(folder)
    shutil.rmtree(folder)
    capsys.readouterr()
    return folder, found


def _names(partial: Path) -> None:
    """A journal that says that all is done, of weights that are not there."""
    (partial / "merge.journal").write_text("".join(f"{name}\n" for name in tensors(Path("one"))))


def _rubbish(partial: Path) -> None:
    (partial / "deep").mkdir()
    (partial / "deep" / "file").write_bytes(b"\xff")
    (partial / "link").symlink_to(Path("one").absolute())
    (partial / "model.safetensors").write_bytes(b"\xff" * 99)


def _rubbish_and_names(partial: Path) -> None:
    _rubbish(partial)
    _names(partial)


def _unreadable(partial: Path) -> None:
    (partial / "merge.journal").write_bytes(b"\xff\xfe\n")


@pytest.mark.parametrize("fill", [_rubbish, _names, _rubbish_and_names, _unreadable])
def test_rubbish_where_a_merge_is_written_changes_no_byte(
    user: Path, made: tuple[Path, dict[str, str]], fill: Callable[[Path], None]
) -> None:
    folder, wanted = made
    partial = folder.with_name(f"{folder.name}.partial")
    partial.mkdir()
    fill(partial)
    assert main(["run", "recipe.yaml", "--only", "merge.alone"]) == 0
    assert _bytes(folder) == wanted


def _hooked(folder: Path, text: str) -> str:
    """A value of PYTHONPATH under which every process runs a text first."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(text)
    return os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))


SLOW = """
import time
from pipelines.merge.journal import Journal
add = Journal.add
def slowly(self, name, size):
    add(self, name, size)
    time.sleep(0.3)
Journal.__init__.__defaults__, Journal.add = (1,), slowly
"""


def test_merge_that_was_killed_while_it_wrote_goes_on_to_the_same_bytes(
    user: Path, made: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    folder, wanted = made
    slow = environment(user / "home") | {"PYTHONPATH": _hooked(tmp_path / "slow", SLOW)}
    words = command("run", "recipe.yaml", "--only", "merge.alone")
    run = subprocess.Popen(words, env=slow, start_new_session=True, stdout=subprocess.DEVNULL)
    journal = folder.with_name(f"{folder.name}.partial") / "merge.journal"
    deadline = time.monotonic() + 60
    while not (journal.is_file() and journal.read_text().count("\n") >= 3):
        assert time.monotonic() < deadline and run.poll() is None
        time.sleep(0.02)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert 3 <= journal.read_text().count("\n") < len(tensors(user / "one")) and not folder.exists()
    assert main(["run", "recipe.yaml", "--only", "merge.alone"]) == 0
    assert _bytes(folder) == wanted


SMALL = """
import shutil, types
shutil.disk_usage = lambda path: types.SimpleNamespace(free=1000)
"""
FULL = """
import errno, os
def pwrite(*arguments):
    raise OSError(errno.ENOSPC, "No space left on device")
os.pwrite = pwrite
"""


@pytest.mark.parametrize(
    ("hook", "line"), [(SMALL, "not enough disk space for the weights (got 0.00 GB free"), (FULL, "no space left on")]
)
def test_disk_that_is_full_is_a_line(
    user: Path,
    made: tuple[Path, dict[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Captured,
    hook: str,
    line: str,
) -> None:
    folder, wanted = made
    with monkeypatch.context() as hooked:
        hooked.setenv("PYTHONPATH", _hooked(tmp_path / "hook", hook))
        assert main(["run", "recipe.yaml", "--only", "merge.alone"]) == 1
    told = "".join(capsys.readouterr())
    assert _says(told, line) and "Traceback" not in told and not folder.exists()
    assert main(["run", "recipe.yaml", "--only", "merge.alone"]) == 0
    assert _bytes(folder) == wanted
