"""What a folder says to a process that knows nothing but its path, and how two answers are compared."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from pipelines.errors import UserError
from pipelines.hf.models import load_model, load_tokenizer
from pipelines.serving.look.child import look, stops
from pipelines.serving.look.fresh import reload
from pipelines.serving.look.parity import compare, logits, logprobs, prompt_ids, summation


@pytest.fixture
def folder(pico_tuned: tuple[Path, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(pico_tuned[0], tmp_path / "folder"))


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_stops_follows_the_generation_config(folder: Path):
    model, prompt = load_model(folder, device="cpu"), prompt_ids(load_tokenizer(folder))[0]
    assert stops(model, prompt, 2)
    model.generation_config.eos_token_id = 0
    assert not stops(model, prompt, 2)


def test_reload_in_a_process_that_fails_is_one_line(folder: Path):
    edit(folder / "config.json", model_type="unheard")
    with pytest.raises(UserError, match="cannot be loaded") as caught:
        reload(folder)
    assert "\n" not in str(caught.value)


def test_prompts_without_a_template_are_plain_text(folder: Path):
    (folder / "chat_template.jinja").unlink()
    words = load_tokenizer(folder)
    assert words.decode(prompt_ids(words)[0]) == "What is the capital of France?"


def test_compare_tells_largest_and_relative_difference():
    one, other = [torch.tensor([[3.0, 4.0]])], [torch.tensor([[3.0, 4.5]])]
    assert compare(one, other) == (0.5, pytest.approx(0.1))
    with pytest.raises(UserError, match="NaN"):
        compare(one, [torch.tensor([[float("nan"), 0.0]])])


def test_reload_says_what_this_process_sees(folder: Path, tmp_path: Path):
    out = tmp_path / "out"
    out.mkdir()
    facts, rows = reload(folder)
    assert facts == look(folder, out)
    assert facts["stops"] is True
    model = load_model(folder, device="cpu")
    assert compare(logits(model, facts["prompts"]), rows).relative < summation("float32")


def test_logprobs_are_of_each_token_given_those_before_it(folder: Path):
    model, prompt = load_model(folder, device="cpu"), prompt_ids(load_tokenizer(folder))[0]
    said = logprobs(logits(model, [prompt])[0], prompt)
    assert len(said) == len(prompt) - 1
    ids = torch.tensor([prompt])
    with torch.inference_mode():
        assert sum(said) / len(said) == pytest.approx(-float(model(input_ids=ids, labels=ids).loss), abs=1e-5)


def test_logprobs_of_one_token_are_none():
    assert logprobs(torch.zeros(1, 4), [2]) == []


def test_compare_leaves_rows_of_padding_out():
    assert compare([torch.ones(1, 3)], [torch.ones(1, 5)]) == (0.0, 0.0)
