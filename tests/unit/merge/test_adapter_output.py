"""Adapters merged into an adapter: a folder that peft loads, of the very delta that is baked into a model."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from pipelines.errors import UserError
from tests import pico
from tests.unit.merge.conftest import save_lora
from tests.unit.merge.models import Tensors, artifact, cast, files, merged, tensors
from tests.unit.merge.test_adapter import altered, pico_gpt2

CAT = {"kind": "cat"}
METHODS = [CAT, {"kind": "svd", "rank": 64}, {"kind": "knots", "density": 1.0}]
FLAVOURS: dict[str, dict[str, Any]] = {
    "lora": {},
    "rslora": {"use_rslora": True, "r": 16},
    "patterns": {"rank_pattern": {"v_proj": 2}, "alpha_pattern": {"down_proj": 32}},
    "rslora-patterns": {"use_rslora": True, "rank_pattern": {"layers.1.self_attn.q_proj": 7}},
    "one-layer": {"layers_to_transform": [1]},
    "all-linear": {"target_modules": "all-linear"},
    "embeddings": {"target_modules": ["embed_tokens", "lm_head", "q_proj"]},
}


@pytest.fixture(scope="module")
def untied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pico.save_model(tmp_path_factory.mktemp("untied") / "base", 0, tie_word_embeddings=False)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, untied: Path) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("pair")
    return (
        save_lora(untied, folder / "one", 1, target_modules=["q_proj", "v_proj"]),
        save_lora(untied, folder / "two", 2, target_modules=["q_proj", "down_proj"], r=3, lora_alpha=2),
    )


def adapter_of(out: Path, base: Path, members: Any, method: dict[str, Any] = CAT, **fields: Any) -> Path:
    return merged(out, base, members, method=method, output="adapter", **fields)[0]


def delta(base: Path, lora: Path) -> Tensors:
    """What peft adds to each weight."""
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), lora)
    found = {}
    for name, module in model.base_model.model.named_modules():
        if hasattr(module, "get_delta_weight"):
            found[name] = module.get_delta_weight("default").detach()
    return found


def summed(base: Path, members: Sequence[tuple[Path, float]]) -> Tensors:
    total: Tensors = {}
    for lora, weight in members:
        for name, value in delta(base, lora).items():
            total[name] = total.get(name, torch.zeros_like(value)) + weight * value
    return total


def assert_close(one: Tensors, two: Tensors, tolerance: float = 2e-6) -> None:
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], atol=tolerance * float(two[name].abs().max()), rtol=0)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method["kind"])
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_one_adapter_of_weight_one_is_that_adapter(
    untied: Path, tmp_path: Path, flavour: str, method: dict[str, Any]
) -> None:
    lora = save_lora(untied, tmp_path / "lora", **FLAVOURS[flavour])
    assert_close(delta(untied, adapter_of(tmp_path / "out", untied, {lora: 1.0}, method)), delta(untied, lora))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method["kind"])
def test_one_conv1d_adapter_is_that_adapter(tmp_path: Path, method: dict[str, Any]) -> None:
    base = pico_gpt2(tmp_path / "gpt2")
    lora = save_lora(base, tmp_path / "lora", target_modules=["c_attn", "c_proj"], fan_in_fan_out=True)
    out = adapter_of(tmp_path / "out", base, {lora: 1.0}, method)
    assert_close(delta(base, out), delta(base, lora))
    assert json.loads((out / "adapter_config.json").read_text())["fan_in_fan_out"] is True


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method["kind"])
def test_copies_of_an_adapter_that_share_the_weight_are_that_adapter(
    pico_base: Path, lora: Path, tmp_path: Path, method: dict[str, Any]
) -> None:
    copies = [(Path(shutil.copytree(lora, tmp_path / name)), 0.25) for name in "abcd"]
    out = adapter_of(tmp_path / "out", pico_base, copies, method)
    assert_close(delta(pico_base, out), delta(pico_base, lora))


@pytest.mark.parametrize("method", METHODS[:2], ids=lambda method: method["kind"])
def test_merged_adapter_is_the_weighted_sum(
    untied: Path, pair: tuple[Path, Path], tmp_path: Path, method: dict[str, Any]
) -> None:
    out = adapter_of(tmp_path / "out", untied, {pair[0]: 0.7, pair[1]: -1.3}, method)
    assert_close(delta(untied, out), summed(untied, [(pair[0], 0.7), (pair[1], -1.3)]))


def test_cut_adapter_is_the_nearest_of_its_rank(untied: Path, pair: tuple[Path, Path], tmp_path: Path) -> None:
    out, metrics = merged(
        tmp_path / "out", untied, dict.fromkeys(pair, 1.0), method={"kind": "svd", "rank": 3}, output="adapter"
    )
    energy = cut = 0.0
    expected = {}
    for name, value in summed(untied, [(pair[0], 1.0), (pair[1], 1.0)]).items():
        u, s, v = torch.linalg.svd(value.double(), full_matrices=False)
        expected[name] = ((u[:, :3] * s[:3]) @ v[:3]).float()
        energy, cut = energy + float(s.square().sum()), cut + float(s[3:].square().sum())
    assert_close(delta(untied, out), expected)
    assert metrics["discarded"]["share"] == pytest.approx(cut / energy, rel=1e-3)
    assert metrics["discarded"]["most"] >= metrics["discarded"]["share"] > 0
    assert (metrics["rank"], metrics["modules"], metrics["changed"]) == (3, 6, 6)


def test_rank_is_by_default_the_largest_of_a_module(untied: Path, pair: tuple[Path, Path], tmp_path: Path) -> None:
    out = adapter_of(tmp_path / "out", untied, dict.fromkeys(pair, 1.0), {"kind": "svd"})
    settings = json.loads((out / "adapter_config.json").read_text())
    assert settings["r"] == settings["lora_alpha"] == 4
    assert settings["rank_pattern"] == settings["alpha_pattern"]
    assert settings["rank_pattern"] == {f"model.layers.{at}.mlp.down_proj": 3 for at in range(2)}
    assert settings["target_modules"] == ["down_proj", "q_proj", "v_proj"]
    assert settings["use_rslora"] is False


def test_modules_are_named_in_full_where_their_ends_mean_others_too(pico_base: Path, tmp_path: Path) -> None:
    lora = save_lora(pico_base, tmp_path / "lora", layers_to_transform=[1], target_modules=["q_proj"])
    out = adapter_of(tmp_path / "out", pico_base, {lora: 1.0})
    settings = json.loads((out / "adapter_config.json").read_text())
    assert settings["target_modules"] == ["model.layers.1.self_attn.q_proj"]
    assert delta(pico_base, out).keys() == {"model.layers.1.self_attn.q_proj"}


@pytest.mark.parametrize("method", [*METHODS, {"kind": "svd"}, {"kind": "knots", "rank": 3}], ids=str)
def test_model_output_is_the_adapter_output_baked(
    untied: Path, pair: tuple[Path, Path], tmp_path: Path, method: dict[str, Any]
) -> None:
    base = cast(untied, tmp_path / "base", torch.bfloat16)
    members = {pair[0]: 0.5, pair[1]: 0.75}
    direct, metrics = merged(tmp_path / "direct", base, members, method=method)
    through, _ = merged(tmp_path / "through", base, {adapter_of(tmp_path / "adapter", base, members, method): 1.0})
    assert files(direct) == files(through)
    assert metrics["changed"] == metrics["modules"] == 6
    assert metrics["tensors"] == len(tensors(base))


def test_merged_adapter_may_be_merged_again(untied: Path, pair: tuple[Path, Path], tmp_path: Path) -> None:
    first = adapter_of(tmp_path / "first", untied, {pair[0]: 0.5})
    second = adapter_of(tmp_path / "second", untied, {first: 2.0, pair[1]: 1.0})
    assert_close(delta(untied, second), summed(untied, [(pair[0], 1.0), (pair[1], 1.0)]))


def test_live_merged_adapter_computes_what_the_baked_model_does(
    untied: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    members = dict.fromkeys(pair, 0.5)
    out, (baked, _) = adapter_of(tmp_path / "out", untied, members), merged(tmp_path / "m", untied, members, method=CAT)
    live = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(untied), out).eval()
    ids = torch.arange(50).view(2, 25)
    with torch.no_grad():
        torch.testing.assert_close(
            AutoModelForCausalLM.from_pretrained(baked)(ids).logits, live(ids).logits, atol=1e-5, rtol=0
        )


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method["kind"])
def test_bytes_do_not_depend_on_threads_or_order(
    untied: Path, pair: tuple[Path, Path], tmp_path: Path, method: dict[str, Any]
) -> None:
    before = torch.get_num_threads()
    made = []
    for threads, members in ((1, pair), (2, pair[::-1])):
        torch.set_num_threads(threads)
        made.append(adapter_of(tmp_path / str(threads), untied, dict.fromkeys(members, 0.5), method))
    torch.set_num_threads(before)
    assert files(made[0]) == files(made[1])


def test_weights_follow_layers_and_patterns(untied: Path, pair: tuple[Path, Path], tmp_path: Path) -> None:
    members = [(pair[0], {"*.layers.1.*": 0.0, "*.v_proj.*": [0.5, 1.0]}), (pair[1], [0.0, 2.0])]
    found = delta(untied, adapter_of(tmp_path / "out", untied, members))
    one, two = delta(untied, pair[0]), delta(untied, pair[1])
    expected = {"model.layers.0.self_attn.v_proj": 0.5 * one["model.layers.0.self_attn.v_proj"]}
    expected["model.layers.0.self_attn.q_proj"] = one["model.layers.0.self_attn.q_proj"]
    expected |= {name: 2 * value for name, value in two.items() if "layers.1" in name}
    assert_close(found, expected)


@pytest.mark.parametrize(("dtype", "code"), [("keep", torch.float32), ("bfloat16", torch.bfloat16)])
def test_factors_have_the_type_that_is_asked_for(
    pico_base: Path, lora: Path, tmp_path: Path, dtype: str, code: torch.dtype
) -> None:
    out = adapter_of(tmp_path / "out", pico_base, {lora: 1.0}, dtype=dtype)
    assert {value.dtype for value in load_file(out / "adapter_model.safetensors").values()} == {code}


def test_factors_that_do_not_fit_their_type_are_refused(pico_base: Path, lora: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"tensor model\..* do not fit float16"):
        adapter_of(tmp_path / "out", pico_base, {lora: 1e7}, dtype="float16")


def test_base_is_named_as_the_members_do_but_no_place_is(pico_base: Path, lora: Path, tmp_path: Path) -> None:
    named = altered(lora, tmp_path / "named", base_model_name_or_path="org/base")
    names = [
        json.loads((adapter_of(tmp_path / out, pico_base, {member: 1.0}) / "adapter_config.json").read_text())
        for out, member in (("a", named), ("b", lora))
    ]
    assert [name["base_model_name_or_path"] for name in names] == ["org/base", artifact(pico_base).name]


def test_whole_model_is_refused(pico_base: Path, pico_tuned: tuple[Path, Path], lora: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a whole model, and this method merges adapters"):
        merged(tmp_path / "out", pico_base, {lora: 1.0, pico_tuned[0]: 1.0}, method=CAT)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"use_dora": True}, "is a DoRA adapter"), ({"modules_to_save": ["norm"]}, "carries whole tensors")],
)
def test_more_than_products_is_refused(pico_base: Path, tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    lora = save_lora(pico_base, tmp_path / "lora", **settings)
    for output in ("adapter", "model"):
        with pytest.raises(UserError, match=message):
            merged(tmp_path / output, pico_base, {lora: 1.0}, method=CAT, output=output)


def test_nan_is_refused_by_name(pico_base: Path, lora: Path, tmp_path: Path) -> None:
    def broken(weights: Tensors) -> Tensors:
        first = sorted(weights)[0]
        return weights | {first: torch.full_like(weights[first], torch.nan)}

    odd = altered(lora, tmp_path / "odd", broken)
    with pytest.raises(UserError, match=r"odd: tensor model\.layers\.0.* holds NaN"):
        merged(tmp_path / "out", pico_base, {odd: 1.0}, method={"kind": "svd"})


def test_square_weight_stored_both_ways_is_refused(tmp_path: Path) -> None:
    base = pico_gpt2(tmp_path / "gpt2")
    one = save_lora(base, tmp_path / "one", target_modules=["attn.c_proj"], fan_in_fan_out=True)
    two = altered(one, tmp_path / "two", fan_in_fan_out=False)
    with pytest.raises(UserError, match="fan_in_fan_out"):
        merged(tmp_path / "out", base, {one: 1.0, two: 1.0}, method=CAT)
