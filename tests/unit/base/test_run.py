"""From a local folder or a hub snapshot to a plain, uniform folder."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipelines.base.config import BaseConfig
from pipelines.base.run import run
from pipelines.errors import UserError
from tests import pico


@pytest.fixture
def source(pico_base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pico_base, tmp_path / "source"))


def fill(source: Path, **settings: str) -> tuple[Path, dict]:
    out = source.parent / "out"
    out.mkdir()
    return out, run(BaseConfig(path=str(source), **settings), {}, out)


def edit(path: Path, **changes: object) -> None:
    """Change a JSON file; None removes a key."""
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def test_path_keeps_every_byte_and_leaves_the_rest(source: Path):
    for name in ("pytorch_model.bin", "modeling_own.py", "optimizer.pt"):
        (source / name).write_bytes(b"no")
    (source / "LICENSE.md").write_text("the licence")
    out, metrics = fill(source)
    assert {path.name for path in out.iterdir()} == {
        "LICENSE.md", "chat_template.jinja", "config.json", "generation_config.json", "model.safetensors",
        "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    for path in out.iterdir():
        assert path.read_bytes() == (source / path.name).read_bytes(), path.name
        assert path.stat().st_mode & 0o777 == 0o644
        assert path.stat().st_nlink == 1
    assert metrics["source"] == "folder source"
    assert metrics["architecture"] == "LlamaForCausalLM"
    assert metrics["special"] == {"bos": 1, "eos": 2, "pad": 2, "stop": [2]}
    assert metrics["template_sha256"]
    assert metrics["licence"] is None
    assert metrics["notes"] == ["no licence is stated: set base.licence"]
    assert json.loads(json.dumps(metrics)) == metrics


def test_path_dtype_rounds_each_weight_once(source: Path):
    out, metrics = fill(source, dtype="bfloat16")
    before, after = load_file(source / "model.safetensors"), load_file(out / "model.safetensors")
    assert all(torch.equal(before[name].to(torch.bfloat16), after[name]) for name in before)
    assert before.keys() == after.keys()
    assert json.loads((out / "config.json").read_text())["dtype"] == metrics["dtype"] == "bfloat16"


def test_path_sharded_keeps_its_shards(source: Path):
    AutoModelForCausalLM.from_pretrained(source).save_pretrained(source, max_shard_size="60KB")
    (source / "model.safetensors").unlink()
    out, _ = fill(source)
    shards = sorted(path.name for path in source.glob("*.safetensors*"))
    assert len(shards) > 2
    assert sorted(path.name for path in out.glob("*.safetensors*")) == shards


def test_path_tokenizer_class_that_ignores_its_file_is_replaced(source: Path):
    edit(source / "tokenizer_config.json", tokenizer_class="GPT2Tokenizer")
    text = "at 12:30"
    assert type(AutoTokenizer.from_pretrained(source)).__name__ == "GPT2Tokenizer"
    out, metrics = fill(source)
    words = AutoTokenizer.from_pretrained(out)
    assert words.backend_tokenizer.pre_tokenizer.pre_tokenize_str(text)[-1][0] == "0"
    assert words(text)["input_ids"] == pico.tokenizer()(text)["input_ids"]
    assert any("GPT2Tokenizer replaced: its pre_tokenizer" in note for note in metrics["notes"])


def test_path_template_inside_the_tokenizer_config_moves_to_its_file(source: Path):
    (source / "chat_template.jinja").unlink()
    edit(source / "tokenizer_config.json", chat_template=pico.CHATML)
    out, metrics = fill(source)
    assert (out / "chat_template.jinja").read_text() == pico.CHATML
    assert "chat_template" not in json.loads((out / "tokenizer_config.json").read_text())
    assert metrics["template_sha256"]


def test_path_without_template_is_noted(source: Path):
    (source / "chat_template.jinja").unlink()
    out, metrics = fill(source)
    assert metrics["template_sha256"] is None
    assert any("no chat template" in note for note in metrics["notes"])
    assert not (out / "chat_template.jinja").exists()


def test_path_generation_stops_where_the_template_ends_a_turn(source: Path):
    edit(source / "tokenizer_config.json", eos_token="<|endoftext|>")
    edit(source / "generation_config.json", eos_token_id=0)
    out, metrics = fill(source)
    assert json.loads((out / "generation_config.json").read_text())["eos_token_id"] == [0, 2]
    assert "generation also stops at <|im_end|>" in metrics["notes"]


def test_path_without_generation_config_gets_one(source: Path):
    (source / "generation_config.json").unlink()
    out, metrics = fill(source)
    assert json.loads((out / "generation_config.json").read_text()) == {
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
    }
    assert metrics["special"]["stop"] == [2]


def test_path_without_padding_token_pads_with_the_end_of_text(source: Path):
    edit(source / "tokenizer_config.json", pad_token=None)
    out, metrics = fill(source)
    assert AutoTokenizer.from_pretrained(out).pad_token == "<|im_end|>"
    assert any("no padding token" in note for note in metrics["notes"])


def test_path_licence_of_the_card_is_recorded(source: Path):
    (source / "README.md").write_text("---\nlanguage: en\nlicense: mit\n---\n# Model\n")
    assert fill(source)[1]["licence"] == "MIT"


def test_path_licence_of_the_recipe_goes_into_the_card(source: Path):
    (source / "README.md").write_text("---\nlanguage: en\n---\n# Model\n")
    out, metrics = fill(source, licence="Apache-2.0")
    assert metrics["licence"] == "Apache-2.0"
    assert (out / "README.md").read_text() == "---\nlicense: Apache-2.0\nlanguage: en\n---\n# Model\n"


def test_path_two_licences_are_refused(source: Path):
    (source / "README.md").write_text("---\nlicense: mit\n---\n")
    with pytest.raises(UserError, match=r"base.licence: the model's card states MIT \(got Apache-2.0\)"):
        fill(source, licence="Apache-2.0")


def test_path_broken_since_it_was_checked_is_refused(source: Path):
    (source / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"has no tokenizer.json"):
        fill(source)


def test_hub_snapshot_is_linked_and_its_commit_recorded(source: Path, monkeypatch: pytest.MonkeyPatch):
    snapshot = source.rename(source.with_name("c" * 40))
    monkeypatch.setattr("pipelines.base.run.fetch_snapshot", lambda hub, revision: snapshot)
    out = snapshot.parent / "out"
    out.mkdir()
    metrics = run(BaseConfig(hub="owner/model", revision="main"), {}, out)
    assert metrics["source"] == f"hub owner/model@{'c' * 40}"
    assert (out / "model.safetensors").samefile(snapshot / "model.safetensors")
    assert not (out / "config.json").samefile(snapshot / "config.json")


@pytest.mark.parametrize("settings", [{}, {"dtype": "bfloat16"}])
def test_path_full_disk_is_refused(source: Path, settings: dict, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(UserError, match="not enough disk space"):
        fill(source, **settings)
