"""An adapter trained on a 4-bit base: of two ways to bake it, the one closer to the live adapter is kept."""

from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from peft import PeftModel
from pydantic import ValidationError

from pipelines.engine.stage import Artifact
from pipelines.errors import UserError
from pipelines.hf.models import load_model
from pipelines.hf.quantised import as_trained, dequantised, nf4
from pipelines.hf.rows import Row, write_rows
from pipelines.merge.adapters import quantised
from pipelines.merge.adapters.quantised import Distance
from pipelines.merge.config import MergeConfig
from pipelines.merge.run import run
from tests import pico
from tests.unit.merge.conftest import save_lora
from tests.unit.merge.models import artifact, cast, files, merged, tensors
from tests.unit.merge.test_adapter import pico_gpt2


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights large enough for what 4 bits lose to be seen in the logits."""
    return pico.save_model(tmp_path_factory.mktemp("loud") / "base", 0, initializer_range=0.3)


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    return save_lora(base, tmp_path_factory.mktemp("qlora") / "lora")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return dataset(tmp_path_factory.mktemp("data"), dev=40, train=3)


def dataset(folder: Path, **splits: int) -> Artifact:
    (folder / "rows").mkdir()
    for split, count in splits.items():
        ids = [[(7 * at + place) % 390 for place in range(5 + at % 9)] for at in range(count)]
        write_rows(
            folder / "rows" / f"{split}.parquet", [Row(str(at), "", None, one, one) for at, one in enumerate(ids)]
        )
    return Artifact("data.rows", "dataset", folder, "rows")


def baked(out: Path, base: Path, lora: Path, rows: Artifact, settings: Any = None, **fields: Any) -> tuple[Path, Any]:
    inputs = {"base": artifact(base), "lora": artifact(lora, "adapter"), "rows": rows}
    told = {"quantised": {"rows": "rows", **(settings or {})}, "method": {"kind": "linear"}}
    out.mkdir()
    return out, run(MergeConfig.model_validate({"models": [{"use": "lora"}]} | told | fields), inputs, out)


def live_logits(base: Path, lora: Path, ids: torch.Tensor, double_quant: bool = True) -> torch.Tensor:
    config = nf4(torch.float32, double_quant)
    model = load_model(base, torch.float32, quantization_config=config, device_map={"": "cpu"})
    with torch.no_grad():
        found: torch.Tensor = as_trained(PeftModel.from_pretrained(model, lora))(ids).logits
    return found


@pytest.mark.parametrize("double_quant", [True, False])
def test_kept_model_computes_what_the_live_adapter_does(
    base: Path, lora: Path, rows: Artifact, tmp_path: Path, double_quant: bool
) -> None:
    out, metrics = baked(tmp_path / "out", base, lora, rows, {"double_quant": double_quant})
    told = metrics["quantised"]
    assert (told["rows"], told["split"], told["kept"]) == (32, "dev", "dequantised")
    assert told["dequantised"]["kl"] < 1e-6 < 1e-4 < told["full"]["kl"]
    assert told["dequantised"]["max_dlogit"] < 1e-3 < 1e-1 < told["full"]["max_dlogit"]
    ids = torch.arange(50).view(2, 25)
    with torch.no_grad():
        found = load_model(out, torch.float32)(ids).logits
    torch.testing.assert_close(found, live_logits(base, lora, ids, double_quant), atol=1e-4, rtol=1e-4)
    assert sorted(path.name for path in out.iterdir()) == sorted(
        files(merged(tmp_path / "plain", base, {lora: 1.0})[0])
    )


def test_dequantised_weights_are_those_of_bitsandbytes_plus_the_delta(
    base: Path, lora: Path, rows: Artifact, tmp_path: Path
) -> None:
    out, _ = baked(tmp_path / "out", base, lora, rows)
    plain, _ = merged(tmp_path / "plain", base, {lora: 1.0})
    before, full, after = tensors(base), tensors(plain), tensors(out)
    for name, weight in before.items():
        if not name.endswith("_proj.weight"):
            assert after[name].equal(weight)
            continue
        codes, state = quantize_4bit(weight, blocksize=64, compress_statistics=True, quant_type="nf4")
        expected = dequantize_4bit(codes, state) + (full[name] - weight)
        torch.testing.assert_close(after[name], expected, atol=1e-6, rtol=1e-6)


def test_closer_full_weights_are_kept(
    base: Path, lora: Path, rows: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distances = iter([Distance(0.1, 1.0), Distance(0.1, 1.0)])
    monkeypatch.setattr(quantised, "distance", lambda *_: next(distances))
    out, metrics = baked(tmp_path / "out", base, lora, rows)
    assert metrics["quantised"]["kept"] == "full"
    assert files(out) == files(merged(tmp_path / "plain", base, {lora: 1.0})[0])


def test_half_precision_base_keeps_its_type_and_its_shards(
    base: Path, lora: Path, rows: Artifact, tmp_path: Path
) -> None:
    half = cast(base, tmp_path / "half", torch.bfloat16)
    one, metrics = baked(tmp_path / "one", half, lora, rows, {"precision": "bfloat16"}, threads=1)
    two, _ = baked(tmp_path / "two", half, lora, rows, {"precision": "bfloat16"}, threads=3)
    assert metrics["quantised"]["kept"] == "dequantised"
    assert {tensor.dtype for tensor in tensors(one).values()} == {torch.bfloat16}
    assert files(one) == files(two)


def test_conv1d_weights_are_dequantised_the_right_way_round(tmp_path: Path, rows: Artifact) -> None:
    base = pico_gpt2(tmp_path / "gpt2")
    model = load_model(base, torch.float32, quantization_config=nf4(torch.float32, True), device_map={"": "cpu"})
    found = {name: values() for name, values in dequantised(model).items()}
    before = tensors(base)
    assert {name.rpartition(".")[0].rpartition(".")[2] for name in found} == {"c_attn", "c_fc", "c_proj"}
    for name, values in found.items():
        assert torch.nn.functional.cosine_similarity(values.flatten(), before[name].flatten(), dim=0) > 0.95


@pytest.mark.parametrize(
    ("splits", "split", "count"), [({"train": 5}, "train", 5), ({"test": 2, "train": 5}, "test", 2)]
)
def test_other_splits_do_where_there_are_no_development_rows(
    tmp_path: Path, splits: dict[str, int], split: str, count: int
) -> None:
    held = quantised.held_out(dataset(tmp_path, **splits))
    assert (held.split, len(held.rows)) == (split, count)


def test_dataset_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no rows to compare on"):
        quantised.held_out(dataset(tmp_path, dev=0))


def test_distance_is_the_mean_divergence_and_the_largest_difference() -> None:
    generator = torch.Generator().manual_seed(0)
    tables = [torch.randn(11, 7, generator=generator) for _ in range(2)]

    class Table(torch.nn.Module):
        device = torch.device("cpu")

        def __init__(self, values: torch.Tensor) -> None:
            super().__init__()
            self.values = values

        def forward(self, ids: torch.Tensor) -> Any:
            return type("Output", (), {"logits": self.values[ids]})

    rows = [torch.tensor([[0, 1, 2]]), torch.tensor([[5] * 300])]
    p, q = (table.double().softmax(-1) for table in tables)
    kl = (p * (p / q).log()).sum(-1)
    found = quantised.distance(Table(tables[0]), Table(tables[1]), rows)
    assert found.kl == pytest.approx(float((kl[0] + kl[1] + kl[2] + 300 * kl[5]) / 303), rel=1e-3)
    assert found.max_dlogit == pytest.approx(float((tables[0] - tables[1])[[0, 1, 2, 5]].abs().max()), rel=1e-3)


def test_model_in_place_of_the_adapter_is_refused(base: Path, rows: Artifact, tmp_path: Path) -> None:
    tuned = pico.save_tuned(base, tmp_path / "tuned", 1)
    inputs = {"base": artifact(base), "tuned": artifact(tuned), "rows": rows}
    told = {"models": [{"use": "tuned"}], "quantised": {"rows": "rows"}, "method": {"kind": "linear"}}
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="is for one adapter"):
        run(MergeConfig.model_validate(told), inputs, tmp_path / "out")


@pytest.mark.parametrize(
    "fields",
    [{"method": {"kind": "task_arithmetic"}}, {"models": [{"use": "a"}, {"use": "b"}]}, {"engine": "mergekit"}],
    ids=["method", "models", "engine"],
)
def test_quantised_base_of_anything_but_one_baked_adapter_is_refused(fields: dict[str, Any]) -> None:
    told = {"models": [{"use": "a"}], "quantised": {"rows": "rows"}, "method": {"kind": "linear"}}
    with pytest.raises(ValidationError, match="quantised is for a single adapter"):
        MergeConfig.model_validate(told | fields)
