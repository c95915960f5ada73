"""Loss along the line between models, against models that are merged and loaded."""

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from pipelines.errors import UserError
from pipelines.hf.rows import Row, write_rows
from pipelines.merge.advice.segment import ALPHAS, BASE, ROWS, Segment, barrier, curves, held_out, mean_loss
from pipelines.merge.plan import plan
from tests import pico
from tests.unit.merge.models import artifact, merged


@pytest.fixture
def rows() -> list[Row]:
    words = pico.tokenizer()
    tokens = [words(text)["input_ids"] for text in pico.CORPUS]
    return [Row(str(at), "x", None, ids, [-100] * 3 + ids[3:]) for at, ids in enumerate(tokens)]


def test_barrier_is_the_height_above_the_line_between_the_ends() -> None:
    assert barrier([1.0, 1.5, 2.0, 2.5, 3.0]) == 0
    assert barrier([1.0, 1.5, 2.7, 2.5, 3.0]) == pytest.approx(0.7)
    assert barrier([3.0, 1.0, 1.0, 1.0, 1.0]) == pytest.approx(-0.5)


def test_mean_loss_is_that_of_transformers(pico_base: Path, rows: list[Row]) -> None:
    model = AutoModelForCausalLM.from_pretrained(pico_base).eval()
    with torch.inference_mode():
        ids, labels = torch.tensor([rows[0].input_ids]), torch.tensor([rows[0].labels])
        expected = float(model(ids, labels=labels).loss)
    assert mean_loss(model, rows[:1]) == pytest.approx(expected, rel=1e-6)


def test_curves_are_the_losses_of_the_models_in_between(
    pico_base: Path, pico_tuned: tuple[Path, Path], rows: list[Row], tmp_path: Path
) -> None:
    planned = plan(artifact(pico_base), [artifact(folder) for folder in pico_tuned], [1.0, 1.0], "keep")
    names = {BASE: "base", 0: "one", 1: "two"}
    segments = [Segment(BASE, 0, "chats"), Segment(0, 1, "chats")]
    away, between = curves(planned, names, segments, {"chats": rows})
    half, _ = merged(tmp_path / "half", pico_base, {pico_tuned[0]: 1.0}, method={"kind": "interpolate", "alpha": 0.5})
    mean, _ = merged(tmp_path / "mean", pico_base, dict.fromkeys(pico_tuned, 1.0))
    folders = (pico_base, half, pico_tuned[0], mean, pico_tuned[1])
    expected = [mean_loss(AutoModelForCausalLM.from_pretrained(folder).eval(), rows) for folder in folders]
    found = [away.losses[0], away.losses[2], away.losses[4], between.losses[2], between.losses[4]]
    assert found == pytest.approx(expected, rel=1e-5)
    assert between.losses[0] == away.losses[4]
    assert (between.ends, between.rows, between.alphas) == (("one", "two"), len(rows), ALPHAS)


def test_curve_of_an_adapter_ends_at_the_adapted_model(pico_base: Path, lora: Path, rows: list[Row]) -> None:
    planned = plan(artifact(pico_base), [artifact(lora, "adapter")], [1.0], "keep")
    curve = curves(planned, {BASE: "base", 0: "one"}, [Segment(BASE, 0, "chats")], {"chats": rows})[0]
    live = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(pico_base), lora).eval()
    assert curve.losses[-1] == pytest.approx(mean_loss(live, rows), rel=1e-5)
    assert curve.losses[0] != curve.losses[-1]


def test_held_out_rows_are_few_the_same_and_carry_loss(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    many = [Row(f"{at:03}", "x", None, [1, 2], [-100, 2 if at % 2 else -100]) for at in range(200)]
    write_rows(tmp_path / "rows" / "dev.parquet", reversed(many))
    found = held_out("chats", tmp_path)
    assert [row.id for row in found] == [f"{at:03}" for at in range(1, 2 * ROWS, 2)]


def test_held_out_rows_that_are_not_there_are_the_users_to_add(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"chats: has no development rows .* Add split: \{dev: 0.05\}"):
        held_out("chats", tmp_path)
