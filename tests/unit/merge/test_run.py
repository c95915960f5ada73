"""The merge stage on pico models: identities, invariances and what is carried along."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipelines.errors import UserError
from pipelines.merge import kernels, stream
from pipelines.merge.adapters import adapter
from pipelines.merge.config import MergeConfig
from pipelines.merge.plan import plan
from pipelines.merge.ties import ties
from tests import pico
from tests.unit.merge.models import artifact, cast, edited, files, merged, same, sharded, tensors

METHODS = [
    {"kind": "linear"},
    {"kind": "task_arithmetic", "lambda": [0.3, 1.1]},
    {"kind": "ties", "density": 0.3},
    {"kind": "ties", "density": {"*.mlp.*": 0.5, "*": 0.2}, "scope": "row", "sign": "count"},
    {"kind": "ties", "density": 0.3, "scope": "global"},
    {"kind": "dare", "density": 0.4, "seed": 3},
    {"kind": "dare_ties", "density": 0.4, "seed": 3},
    {"kind": "della", "density": 0.4, "epsilon": 0.2},
    {"kind": "breadcrumbs", "density": 0.5, "gamma": 0.1},
    {"kind": "model_stock"},
    {"kind": "karcher"},
    {"kind": "sce", "density": 0.3},
    {"kind": "iso_c"},
    {"kind": "tsv_m"},
]
"""One of every streaming method, and of every way that it has."""
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@pytest.fixture
def trio(pico_base: Path, pico_tuned: tuple[Path, Path]) -> tuple[Path, Path, Path]:
    return pico_base, *pico_tuned


@pytest.mark.parametrize("dtype", DTYPES)
def test_linear_one_model_of_weight_one_is_that_model_bitwise(trio, tmp_path: Path, dtype: torch.dtype) -> None:
    base, tuned = (cast(folder, tmp_path / folder.name, dtype) for folder in trio[:2])
    out, metrics = merged(tmp_path / "out", base, {tuned: 1.0})
    assert same(out, tuned)
    assert metrics["changed"] == metrics["tensors"] == len(tensors(base))


@pytest.mark.parametrize("dtype", DTYPES)
def test_linear_copies_are_the_copy_bitwise(trio, tmp_path: Path, dtype: torch.dtype) -> None:
    base, tuned = (cast(folder, tmp_path / folder.name, dtype) for folder in trio[:2])
    copies = [edited(tuned, tmp_path / name, dict) for name in "abc"]
    out, _ = merged(tmp_path / "out", base, {copies[0]: 0.2, copies[1]: 0.5, copies[2]: 0.77})
    assert same(out, tuned)


@pytest.mark.parametrize("dtype", DTYPES)
def test_interpolate_ends_are_the_base_and_the_model_bitwise(trio, tmp_path: Path, dtype: torch.dtype) -> None:
    base, tuned = (cast(folder, tmp_path / folder.name, dtype) for folder in trio[:2])
    start, metrics = merged(tmp_path / "0", base, {tuned: 1.0}, method={"kind": "interpolate", "alpha": 0.0})
    end, _ = merged(tmp_path / "1", base, {tuned: 1.0}, method={"kind": "interpolate", "alpha": 1.0})
    assert files(start) == files(base)
    assert metrics["changed"] == 0
    assert same(end, tuned)


def weights_for(method: dict, weights: dict[Path, float]) -> dict[Path, float]:
    """The weights, where the method takes any."""
    return dict.fromkeys(weights, 1.0) if method["kind"] in ("model_stock", "sce") else weights


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method["kind"])
def test_order_of_the_models_changes_no_byte(trio, tmp_path: Path, method: dict) -> None:
    base, one, two = trio
    three = pico.save_tuned(base, tmp_path / "three", seed=9)
    weights = weights_for(method, {one: 0.5, two: 0.3, three: 0.7})
    forward, _ = merged(tmp_path / "a", base, weights, method=method)
    backward, metrics = merged(
        tmp_path / "b", base, {model: weights[model] for model in (three, one, two)}, method=method
    )
    assert files(forward) == files(backward)
    assert [model["name"] for model in metrics["models"]] == ["three", "one", "two"]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method["kind"])
def test_threads_chunks_and_shards_change_no_bit(trio, tmp_path: Path, method: dict, request) -> None:
    base, one, two = trio
    lora = request.getfixturevalue("lora")
    in_shards = sharded(base, tmp_path / "shards")
    weights = weights_for(method, {lora: 0.3, one: 0.5, two: 0.4})
    expected, _ = merged(tmp_path / "expected", base, weights, method=method, threads=1)
    config = MergeConfig.model_validate({"models": [{"use": "x"}] * 3, "method": method})
    members = [artifact(lora, "adapter"), artifact(one), artifact(two)]
    for at, (folder, threads, chunk) in enumerate([(base, 3, 7), (base, 2, 1000), (in_shards, 2, 48)]):
        out = tmp_path / str(at)
        out.mkdir()
        chosen = plan(artifact(folder), members, list(weights.values()), "keep")
        stream.merge(chosen, config.method, out, threads, chunk=chunk, shard_bytes=300_000 if at else None)
        assert same(out, expected)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method["kind"])
def test_compiled_kernels_change_no_bit(trio, tmp_path: Path, method: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    base, one, two = (cast(folder, tmp_path / folder.name, torch.bfloat16) for folder in trio)
    weights = weights_for(method, {one: 0.5, two: 0.4})
    expected, _ = merged(tmp_path / "expected", base, weights, method=method)
    monkeypatch.setattr(stream, "COMPILED", 0)
    assert stream.fastest(1) is not kernels.reference
    out, _ = merged(tmp_path / "out", base, weights, method=method)
    assert files(out) == files(expected)


def test_chosen_shard_size_is_kept(trio, tmp_path: Path) -> None:
    base, one, _ = trio
    out, _ = merged(tmp_path / "out", base, {one: 1.0}, shard_size="0.1MB")
    shards = sorted(out.glob("*.safetensors"))
    assert len(shards) > 1 and same(out, one)
    assert AutoModelForCausalLM.from_pretrained(out).dtype == torch.float32


def test_model_that_does_not_descend_from_the_base_is_refused(trio, tmp_path: Path) -> None:
    other = pico.save_model(tmp_path / "other", 77)
    with pytest.raises(UserError, match=r"other: does not descend from .*: it differs from it by 1\.\d+ of its norm"):
        merged(tmp_path / "out", trio[0], {trio[1]: 1.0, other: 1.0})


def test_model_that_is_far_from_the_base_is_noted(trio, tmp_path: Path) -> None:
    def moved(weights):
        generator = torch.Generator().manual_seed(0)
        return {
            name: w + 0.5 * w.std() * torch.randn(w.shape, generator=generator) if w.dim() > 1 else w
            for name, w in weights.items()
        }

    far = edited(trio[0], tmp_path / "far", moved)
    _, metrics = merged(tmp_path / "out", trio[0], {far: 1.0})
    assert any("far differs from" in note for note in metrics["notes"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_device_that_is_not_there_is_refused(trio, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"device: is not on this machine \(got cuda:1, and there are 0 CUDA devices"):
        merged(tmp_path / "out", trio[0], {trio[1]: 1.0}, device="cuda:1")


def test_sharded_base_keeps_its_shards(trio, tmp_path: Path) -> None:
    base, one, two = trio
    in_shards = sharded(base, tmp_path / "shards")
    out, _ = merged(tmp_path / "out", in_shards, {one: 1.0, sharded(two, tmp_path / "two", 2): 1.0}, dtype="bfloat16")
    layout = {path.name: set(load_file(path)) for path in in_shards.glob("*.safetensors")}
    assert {path.name: set(load_file(path)) for path in out.glob("*.safetensors")} == layout
    index = json.loads((out / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in tensors(out).values())
    assert AutoModelForCausalLM.from_pretrained(out).dtype == torch.bfloat16


def test_ties_stage_is_the_function_on_each_tensor(trio, tmp_path: Path) -> None:
    base, one, two = (cast(folder, tmp_path / folder.name, torch.bfloat16) for folder in trio)
    method = {"kind": "ties", "density": 0.3, "lambda": 0.8}
    out, _ = merged(tmp_path / "out", base, {one: 0.5, two: 0.3}, method=method)
    a, b, c, result = (tensors(folder) for folder in (base, one, two, out))
    for name, tensor in result.items():
        assert tensor.equal(ties(a[name], [b[name], c[name]], [0.5, 0.3], 0.3, 0.8).bfloat16())


@pytest.mark.parametrize("kind", ["ties", "dare_ties"])
def test_vectors_are_neither_trimmed_nor_dropped(trio, tmp_path: Path, kind: str) -> None:
    base, one, _ = trio
    out, _ = merged(tmp_path / "out", base, {one: 1.0}, method={"kind": kind, "density": 0.01})
    name = "model.norm.weight"
    a, b, c = (tensors(folder)[name] for folder in (base, one, out))
    assert c.equal(a + (b - a))


def test_mixed_types_are_stored_in_the_types_of_the_base(trio, tmp_path: Path) -> None:
    base, one, two = trio
    low = cast(base, tmp_path / "low", torch.bfloat16)
    out, _ = merged(tmp_path / "out", low, {one: 1.0, cast(two, tmp_path / "half", torch.float16): 1.0})
    assert {tensor.dtype for tensor in tensors(out).values()} == {torch.bfloat16}
    a, b, result = tensors(one), tensors(tmp_path / "half"), tensors(out)
    for name, tensor in result.items():
        torch.testing.assert_close(tensor.float(), (a[name] + b[name].float()) / 2, rtol=2**-8, atol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_dtype_is_stored_and_written_into_the_config(trio, tmp_path: Path, dtype: str) -> None:
    base, one, _ = trio
    old = edited(base, tmp_path / "old", dict, torch_dtype="float32")
    out, _ = merged(tmp_path / "out", old, {one: 1.0}, dtype=dtype)
    config = json.loads((out / "config.json").read_text())
    assert config["dtype"] == config["torch_dtype"] == dtype
    assert {str(tensor.dtype) for tensor in tensors(out).values()} == {f"torch.{dtype}"}
    expected = cast(one, tmp_path / "expected", getattr(torch, dtype))
    assert same(out, expected)


def test_files_of_the_base_are_carried(trio, tmp_path: Path) -> None:
    base, one, two = trio
    licensed = edited(base, tmp_path / "licensed", dict)
    (licensed / "LICENSE").write_text("free")
    (licensed / "optimizer.pt").write_text("not this")
    (licensed / "artifact.json").write_text("{}")
    out, _ = merged(tmp_path / "out", licensed, {one: 1.0, two: 1.0})
    weights = "model.safetensors"
    carried = {name: data for name, data in files(licensed).items() if name not in ("optimizer.pt", "artifact.json")}
    assert {name: data for name, data in files(out).items() if name != weights} == {
        name: data for name, data in carried.items() if name != weights
    }
    assert {path.stat().st_mode & 0o777 for path in out.iterdir()} == {0o644}
    assert AutoTokenizer.from_pretrained(out).chat_template == AutoTokenizer.from_pretrained(base).chat_template
    ids = torch.arange(10)[None]
    merged_model, left, right = (AutoModelForCausalLM.from_pretrained(folder) for folder in (out, one, two))
    with torch.no_grad():
        for soup, a, b in zip(merged_model.parameters(), left.parameters(), right.parameters(), strict=True):
            torch.testing.assert_close(soup, (a + b) / 2, atol=1e-6, rtol=1e-6)
        assert merged_model(ids).logits.isfinite().all()


def test_metrics_say_how_far_each_model_is(trio, tmp_path: Path) -> None:
    base, one, two = trio
    _, metrics = merged(tmp_path / "out", base, {one: 0.5, two: 2.0}, method={"kind": "ties"})
    a, b = ({n: t for n, t in tensors(folder).items() if t.dim() > 1} for folder in (base, one))
    ratio = (sum((b[n] - a[n]).square().sum() for n in a) / sum(a[n].square().sum() for n in a)).sqrt()
    assert metrics["method"] == "ties"
    assert metrics["models"][0]["name"] == "one"
    assert metrics["models"][0]["weight"] == 0.5
    assert metrics["models"][0]["delta_norm_ratio"] == pytest.approx(float(ratio), rel=1e-3)
    assert [note.split()[0] for note in metrics["notes"]] == ["one", "two"]
    json.dumps(metrics)


def test_metrics_say_how_far_the_result_is(trio, tmp_path: Path) -> None:
    method = {"kind": "interpolate", "alpha": 0.5}
    _, metrics = merged(tmp_path / "out", trio[0], {trio[1]: 1.0}, method=method)
    assert metrics["delta_norm_ratio"] == pytest.approx(metrics["models"][0]["delta_norm_ratio"] / 2, rel=1e-3)


def test_another_chat_template_is_noted(trio, tmp_path: Path) -> None:
    base, one, _ = trio
    other = edited(one, tmp_path / "other", dict)
    (other / "chat_template.jinja").write_text("{{ messages }}")
    out, metrics = merged(tmp_path / "out", base, {other: 1.0})
    assert "other has another chat template" in metrics["notes"][0]
    assert (out / "chat_template.jinja").read_bytes() == (base / "chat_template.jinja").read_bytes()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method["kind"])
def test_nan_in_a_model_is_refused_by_name(trio, tmp_path: Path, method: dict, value: float) -> None:
    base, one, two = trio
    name = "model.layers.1.mlp.down_proj.weight"

    def poison(weights):
        weights[name].view(-1)[1234] = value
        return weights

    broken = edited(two, tmp_path / "broken", poison)
    with pytest.raises(UserError, match=rf"broken: tensor {name} holds NaN or infinite values"):
        merged(tmp_path / "out", base, {one: 1.0, broken: 1.0}, method=method)


def test_nan_in_an_untouched_tensor_of_the_base_is_refused(trio, tmp_path: Path, lora: Path) -> None:
    def poison(weights):
        weights["model.embed_tokens.weight"][3, 3] = torch.nan
        return weights

    broken = edited(trio[0], tmp_path / "broken", poison)
    with pytest.raises(UserError, match=r"broken: tensor model\.embed_tokens\.weight holds NaN"):
        merged(tmp_path / "out", broken, {lora: 1.0})


def test_values_that_do_not_fit_are_refused(trio, tmp_path: Path) -> None:
    big = edited(
        trio[1], tmp_path / "big", lambda weights: {n: t * (1e7 if t.dim() == 1 else 1) for n, t in weights.items()}
    )
    with pytest.raises(UserError, match="do not fit F16"):
        merged(tmp_path / "out", trio[0], {big: 1.0}, dtype="float16")


def test_too_little_disk_is_refused_before_writing(trio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.hf.shards.shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(UserError, match="not enough disk space"):
        merged(tmp_path / "out", trio[0], {trio[1]: 1.0})
    assert not list((tmp_path / "out").iterdir())


def test_same_integer_buffer_is_copied_and_another_refused(trio, tmp_path: Path) -> None:
    def buffer(*values: int):
        return lambda weights: weights | {"model.steps": torch.tensor(values), "model.on": torch.tensor([True])}

    base, same_one = (edited(folder, tmp_path / folder.name, buffer(1, 2)) for folder in trio[:2])
    out, _ = merged(tmp_path / "out", base, {same_one: 1.0}, dtype="bfloat16")
    assert tensors(out)["model.steps"].tolist() == [1, 2]
    other = edited(trio[2], tmp_path / "other", buffer(1, 3))
    with pytest.raises(UserError, match=r"other: tensor model\.steps differs from base's"):
        merged(tmp_path / "out2", base, {other: 1.0})


def test_scalar_and_empty_tensors_are_merged(trio, tmp_path: Path) -> None:
    def extra(value: float):
        return lambda weights: weights | {"model.scale": torch.tensor(value), "model.none": torch.zeros(0, 3)}

    base, one = (edited(folder, tmp_path / folder.name, extra(float(at))) for at, folder in enumerate(trio[:2], 1))
    out, _ = merged(tmp_path / "out", base, {one: 1.0}, method={"kind": "interpolate", "alpha": 0.5})
    assert tensors(out)["model.scale"].item() == 1.5
    assert tensors(out)["model.none"].shape == (0, 3)


def test_tied_head_stored_by_a_model_is_left_out(trio, tmp_path: Path) -> None:
    base, one, two = trio

    def with_head(weights):
        return weights | {"lm_head.weight": weights["model.embed_tokens.weight"].clone()}

    doubled = edited(one, tmp_path / "one", with_head)
    out, _ = merged(tmp_path / "out", base, {doubled: 1.0, two: 1.0})
    expected, _ = merged(tmp_path / "expected", base, {one: 1.0, two: 1.0})
    assert same(out, expected)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method["kind"])
def test_tied_head_stored_by_the_base_stays_the_embedding(trio, tmp_path: Path, method: dict) -> None:
    def with_head(weights):
        return weights | {"lm_head.weight": weights["model.embed_tokens.weight"].clone()}

    base = edited(trio[0], tmp_path / "base", with_head)
    out, _ = merged(tmp_path / "out", base, weights_for(method, {trio[1]: 1.0, trio[2]: 0.5}), method=method)
    result = tensors(out)
    assert result["lm_head.weight"].equal(result["model.embed_tokens.weight"])


def test_tied_head_that_is_not_the_embedding_is_refused(trio, tmp_path: Path) -> None:
    odd = edited(trio[1], tmp_path / "odd", lambda w: w | {"lm_head.weight": w["model.embed_tokens.weight"] + 1})
    with pytest.raises(UserError, match="odd: ties its embeddings, but"):
        merged(tmp_path / "out", trio[0], {odd: 1.0})


def test_untied_models_keep_their_heads(tmp_path: Path) -> None:
    base = pico.save_model(tmp_path / "base", 0, tie_word_embeddings=False)
    one = pico.save_tuned(base, tmp_path / "one", 1)
    out, _ = merged(tmp_path / "out", base, {one: 1.0}, method={"kind": "interpolate", "alpha": 1.0})
    assert same(out, one)
    assert "lm_head.weight" in tensors(out)


def test_blocks_of_an_adapter_do_not_depend_on_slices() -> None:
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(1000, 16, generator=generator), torch.randn(16, 577, generator=generator)
    product = adapter.LowRank(left, right, 0.5)
    expected = product.read(0, 577_000)
    for step in (1000, 131_072, 200_001):
        pieces = [product.read(start, min(start + step, 577_000)) for start in range(0, 577_000, step)]
        assert torch.cat(pieces).equal(expected)
    assert product.square() == pytest.approx(float(expected.square().sum()), rel=1e-4)


def test_schedule_that_weighs_nothing_somewhere_is_refused(trio, tmp_path: Path) -> None:
    models = [(trio[1], {"*.layers.0.*": 0.0, "*": 1.0}), (trio[2], [0.0, 1.0])]
    with pytest.raises(UserError, match=r"models: the weights of all models are 0 at model\.layers\.0\."):
        merged(tmp_path / "out", trio[0], models)
