"""`burnish verify`: what it says of sound and of broken folders, and with which exit code."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from pipelines.cli.main import main
from pipelines.export.write import write_folder
from pipelines.serving.environments import find
from pipelines.serving.verify import model
from tests import pico
from tests.reloaded import reload

WEIGHTS = "model.safetensors"


@pytest.fixture(autouse=True)
def own_environment() -> Iterator[None]:
    """The verb sets variables for what it starts; they end with the test."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def exported(pico_tuned: tuple[Path, Path], pico_base: Path, tmp_path: Path) -> Path:
    """A pico model as it is exported."""
    return shipped(pico_tuned[0], pico_base, tmp_path / "shipped")


@pytest.fixture
def adapter(pico_base: Path, tmp_path: Path) -> Path:
    """An adapter of the pico base that changes what it says."""
    return trained(pico_base, tmp_path / "adapter")


def shipped(model: Path, base: Path, folder: Path) -> Path:
    folder.mkdir()
    write_folder(model, base, folder, "float32", True, 5_000_000_000)
    return folder


def trained(base: Path, folder: Path) -> Path:
    model = AutoModelForCausalLM.from_pretrained(base)
    tuned = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    tuned.save_pretrained(folder)
    for file in folder.iterdir():
        file.chmod(0o644)
    return folder


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reload in this process."""
    monkeypatch.setattr(model, "reload", reload)


def verify(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, dict]]:
    """The exit code, and the steps by name."""
    code = main(["verify", *map(str, words), "--json"])
    steps = json.loads(capsys.readouterr().out)["steps"]
    return code, {step["check"]: step for step in steps}


def change(folder: Path, name: str, value: float) -> None:
    tensors = load_file(folder / WEIGHTS)
    tensors[name].fill_(value)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)


def test_sound_export_passes_every_check_and_exits_with_0(
    exported: Path, pico_base: Path, pico_tuned: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = (exported, "--base", pico_base, "--source", pico_tuned[0], "--engine", "none")
    code, steps = verify(capsys, *words)
    assert code == 0
    assert {name: step["state"] for name, step in steps.items()} == dict.fromkeys(
        ("rules", "values", "reload", "words", "source", "base"), "ok"
    )


def test_static_loads_nothing(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, steps = verify(capsys, exported, "--static")
    assert (code, list(steps)) == (0, ["rules"])


def test_folder_that_a_rule_refuses_is_not_loaded(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (exported / WEIGHTS).chmod(0o600)
    code, steps = verify(capsys, exported, "--engine", "none")
    assert code == 1
    assert steps["rules"]["state"] == "refused"
    assert [finding["rule"] for finding in steps["rules"]["findings"] if finding["severity"] == "E"] == [
        "private-files"
    ]
    assert steps["loading"]["state"] == "skipped"
    assert "reload" not in steps


def test_nan_is_found_in_the_values(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(exported, "model.norm.weight", float("nan"))
    code, steps = verify(capsys, exported, "--engine", "none")
    assert code == 1
    assert [finding["rule"] for finding in steps["values"]["findings"]] == ["not-finite"]


@pytest.mark.usefixtures("here")
def test_copy_of_the_base_is_refused(pico_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "same"
    folder.mkdir()
    write_folder(pico_base, pico_base, folder, "float32", True, 5_000_000_000)
    code, steps = verify(capsys, folder, "--base", pico_base, "--engine", "none")
    assert (code, steps["base"]["state"]) == (1, "refused")
    assert "every logit is the same" in steps["base"]["findings"][0]["what"]


@pytest.mark.usefixtures("here")
def test_export_that_answers_unlike_its_source_is_refused(
    exported: Path, pico_tuned: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    code, steps = verify(capsys, exported, "--source", pico_tuned[1], "--engine", "none")
    assert code == 1
    assert (steps["words"]["state"], steps["source"]["state"]) == ("ok", "refused")


@pytest.mark.usefixtures("here")
def test_export_with_another_template_than_its_source_is_refused(
    exported: Path, pico_tuned: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = Path(shutil.copytree(pico_tuned[0], tmp_path / "source"))
    template = (source / "chat_template.jinja").read_text()
    (source / "chat_template.jinja").write_text(template.replace("assistant", "model"))
    code, steps = verify(capsys, exported, "--source", source, "--engine", "none")
    assert (code, steps["words"]["state"]) == (1, "refused")
    assert "chat template" in steps["words"]["findings"][0]["what"]


@pytest.mark.usefixtures("here")
def test_model_that_does_not_stop_is_refused(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generation = json.loads((exported / "generation_config.json").read_text())
    (exported / "generation_config.json").write_text(json.dumps(generation | {"eos_token_id": 5}))
    code, _ = verify(capsys, exported, "--engine", "none")
    assert code == 1


@pytest.mark.usefixtures("here")
def test_merged_model_is_compared_with_the_live_adapter(
    pico_base: Path, adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    merged = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(pico_base), adapter).merge_and_unload()
    whole = Path(shutil.copytree(pico_base, tmp_path / "merged"))
    merged.save_pretrained(whole)
    folder = tmp_path / "shipped"
    folder.mkdir()
    write_folder(whole, pico_base, folder, "float32", True, 5_000_000_000)
    words = ("--base", pico_base, "--adapter", adapter, "--engine", "none")
    code, steps = verify(capsys, folder, *words)
    assert (code, steps["adapter"]["state"], steps["base"]["state"]) == (0, "ok", "ok")
    change(folder, "model.norm.weight", 0.5)
    code, steps = verify(capsys, folder, *words)
    assert (code, steps["adapter"]["state"]) == (1, "refused")


def test_adapter_is_put_on_its_base(pico_base: Path, adapter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, steps = verify(capsys, adapter, "--base", pico_base, "--engine", "none")
    assert (code, steps["rules"]["state"], steps["reload"]["state"]) == (0, "ok", "ok")


def test_adapter_that_does_nothing_is_refused(
    pico_base: Path, adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = adapter / "adapter_model.safetensors"
    tensors = {name: torch.zeros_like(tensor) for name, tensor in load_file(file).items()}
    save_file(tensors, file, metadata={"format": "pt"})
    file.chmod(0o644)
    code, steps = verify(capsys, adapter, "--base", pico_base, "--engine", "none")
    assert (code, steps["rules"]["state"]) == (1, "refused")


def test_gguf_file_needs_a_source_to_be_compared_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "gguf").mkdir()
    (tmp_path / "gguf" / "model.gguf").write_bytes(b"GGUF and then nothing")
    code, steps = verify(capsys, tmp_path / "gguf")
    assert (code, steps["rules"]["state"], steps["loading"]["state"]) == (1, "refused", "skipped")


def test_every_format_of_an_export_is_looked_at(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = tmp_path / "export"
    shutil.copytree(exported, both / "safetensors")
    shutil.copytree(exported, both / "other")
    assert main(["verify", str(both), "--static"]) == 0
    shown = capsys.readouterr().out
    assert f"{both}/safetensors\n" in shown
    assert f"{both}/other\n" in shown
    assert shown.endswith("Sound.\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere"], "nowhere: does not exist"),
        ([".", "--adapter", "."], "--adapter: needs the model that it was trained from"),
        ([".", "--engine", "none", "--engine", "vllm"], "--engine: none goes with no other"),
    ],
)
def test_mistake_of_the_user_is_one_line_and_exits_with_2(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith(says)
    assert error.count("\n") == 1


@pytest.mark.usefixtures("here")
def test_engine_that_is_not_installed_is_told_or_refused_when_named(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BURNISH_ENVS", str(tmp_path / "none"))
    code, steps = verify(capsys, exported)
    assert (code, steps["vllm"]["state"]) == (0, "skipped")
    assert "burnish doctor --install vllm" in steps["vllm"]["says"]
    assert main(["verify", str(exported), "--engine", "vllm"]) == 2
    assert "burnish doctor --install vllm" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(find("vllm") is None, reason="needs burnish doctor --install vllm")
def test_vllm_serves_what_transformers_loads_and_an_adapter_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """vLLM has kernels for heads of 32 and more alone."""
    base = pico.save_model(tmp_path / "base", 0, hidden_size=128, intermediate_size=128)
    model = pico.save_tuned(base, tmp_path / "tuned", seed=1)
    code, steps = verify(capsys, shipped(model, base, tmp_path / "shipped"), "--engine", "vllm")
    assert (code, steps["vllm"]["state"]) == (0, "ok"), steps["vllm"]
    code, steps = verify(capsys, trained(base, tmp_path / "adapter"), "--base", base, "--engine", "vllm")
    assert (code, steps["vllm"]["state"]) == (0, "ok"), steps["vllm"]


@pytest.mark.slow
@pytest.mark.skipif(find("transformers4") is None, reason="needs burnish doctor --install transformers4")
def test_transformers_4_reads_the_export_alike(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, steps = verify(capsys, exported, "--engine", "transformers4")
    assert (code, steps["transformers4"]["state"]) == (0, "ok")
