"""Any mergekit method by its name: what is checked before, what is passed on, and what is worked round."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mergekit.merge_methods.base import BasePolicy, ParameterScope
from mergekit.merge_methods.generalized_task_arithmetic import GeneralizedTaskArithmeticMerge
from mergekit.merge_methods.registry import registered_methods
from pydantic import ValidationError
from transformers import AutoModelForCausalLM

from pipelines.errors import UserError
from pipelines.merge.config import MergeConfig
from pipelines.merge.mergekit.methods import METHODS
from tests.unit.merge.models import edited, files, merged, tensors

BASES = {BasePolicy.REQUIRED: "needed", BasePolicy.OPTIONAL: "optional", BasePolicy.IGNORED: "unused"}


def own(name: str, **more) -> dict:
    return {"kind": "mergekit", "name": name} | more


def slices(*every: list) -> list:
    return [{"sources": [{"use": use, "layer_range": span} for use, *span in one]} for one in every]


def test_the_methods_are_those_of_the_installed_mergekit() -> None:
    assert METHODS.keys() == {method.spec.name for method in registered_methods()}


@pytest.mark.parametrize("method", registered_methods(), ids=lambda method: method.spec.name)
def test_what_a_method_takes_is_what_mergekit_says(method) -> None:
    ours, spec, contract = METHODS[method.spec.name], method.spec, method.spec.contract
    assert ours.base == BASES[contract.base]
    given = 1 if ours.base == "needed" else 0
    least = contract.min_non_base if contract.min_non_base is not None else contract.min_inputs - given
    assert ours.least == max(1, least)
    most = contract.max_non_base if contract.max_inputs is None else contract.max_inputs - given
    assert ours.most == most
    assert set(ours.shared) == {one.name for one in spec.parameters if one.scope == ParameterScope.SHARED}
    assert set(ours.each) == {one.name for one in spec.parameters if one.scope != ParameterScope.SHARED}
    assert {*ours.required, "weight"} >= {one.name for one in spec.parameters if one.required} >= set(ours.required)
    defaults = {one.name: one.default for one in spec.parameters}
    assert not ours.divides[0] or defaults[ours.divides[0]] is ours.divides[1]
    assert ours.divides[0] == next((name for name in defaults if name.startswith("normalize")), "")
    elects = isinstance(method, GeneralizedTaskArithmeticMerge) and method.consensus_method is not None
    assert ours.elects == elects


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"method": own("near_swap")}, "has no method 'near_swap'. Did you mean 'nearswap'?"),
        ({"method": own("nearswap")}, "needs the parameter 't'"),
        ({"method": own("ties", parameters={"densty": 1})}, "no parameter 'densty' here. Did you mean 'density'?"),
        ({"method": own("ties", parameters={"weight": 1})}, "a weight is said beside `use:`"),
        ({"method": own("ties", parameters={"density": [{"filter": "mlp"}]})}, "holds filter and value"),
        ({"method": own("ties", parameters={"density": []})}, "must not be an empty list"),
        ({"method": own("ram"), "models": [{"use": "a", "weight": 0.5}]}, "ram takes no weights"),
        ({"method": own("model_stock")}, "merges 2 to more models besides the base, and there are 1"),
        ({"method": own("nuslerp"), "models": [{"use": "a"}]}, "merges 2 models besides the base, and there are 1"),
        ({"method": own("ties"), "models": [{"use": "a", "weight": -1.0}]}, "divides the sign of a negative weight"),
        ({"method": own("linear"), "models": [{"use": "a"}, {"use": "b", "weight": -1.0}]}, "the weights, which is 0"),
        ({"method": own("ties"), "models": [{"use": "base"}]}, "base would be there twice"),
        ({"method": own("ties", task_vectors=False)}, "task_vectors: false is for nuslerp and multislerp"),
        ({"method": own("passthrough", slices=slices([("b", 0, 1)]))}, "slices name b, which is not among the models"),
        ({"method": own("passthrough", slices=slices([("base", 0, 1)]))}, "no slice takes layers of it"),
        ({"method": own("passthrough", slices=slices([("a", 1, 1)]))}, "from a layer to a later one"),
        ({"method": own("passthrough", slices=slices([("a", 0, 1), ("base", 0, 1)]))}, "does not merge 2 models"),
        (
            {"method": own("slerp", parameters={"t": 0.5}, slices=slices([("a", 0, 1)]))},
            "needs the base in every slice",
        ),
        ({"method": own("ties"), "engine": "burnish"}, "method mergekit needs engine: mergekit"),
        ({"method": {"kind": "ties"}, "models": [{"use": "a", "parameters": {"density": 1}}]}, "of kind mergekit"),
        ({"method": {"kind": "iso_c"}}, "engine: mergekit has no iso_c; use engine: burnish"),
        ({"method": {"kind": "tsv_m"}}, "engine: mergekit has no tsv_m"),
        ({"method": {"kind": "ties", "scope": "row"}}, "no ties with scope: row"),
        ({"method": {"kind": "ties", "scope": "global"}}, "no ties with scope: global"),
        ({"method": {"kind": "ties", "sign": "count"}}, "no ties with sign: count"),
        ({"method": {"kind": "sce", "lambda": 0.5}}, "no sce with lambda: 0.5"),
        ({"method": {"kind": "linear"}, "post": {"kind": "svc"}}, "no post: svc"),
        ({"method": {"kind": "karcher"}, "models": [{"use": "a"}, {"use": "b", "weight": 2.0}]}, "the same weight"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_what_mergekit_cannot_do_is_said_in_the_config(fields: dict, says: str) -> None:
    with pytest.raises(ValidationError) as refused:
        MergeConfig.model_validate({"models": [{"use": "a"}], "engine": "mergekit"} | fields)
    assert says in str(refused.value)


def test_nearswap_follows_its_formula(pico_base: Path, pico_tuned, tmp_path: Path) -> None:
    method = own("nearswap", parameters={"t": 0.01})
    out, metrics = merged(tmp_path / "out", pico_base, {pico_tuned[0]: 1.0}, method=method, engine="mergekit")
    base, tuned, result = tensors(pico_base), tensors(pico_tuned[0]), tensors(out)
    for name, a in base.items():
        b = tuned[name]
        share = (0.01 / (a - b).abs().clamp(min=1e-6)).clamp(max=1)
        torch.testing.assert_close(result[name], share * b + (1 - share) * a)
    assert metrics["tensors"] == metrics["changed"] == len(base)


def test_parameters_of_models_and_layers_reach_mergekit(pico_base: Path, pico_tuned, tmp_path: Path) -> None:
    one, two = pico_tuned
    weight = {"*.mlp.*": 0.0, "*": [0.5, 1.0]}
    fields = {
        "models": [
            {"use": one.name, "weight": weight, "parameters": {"density": 1.0}},
            {"use": two.name, "parameters": {"density": [{"filter": "mlp", "value": 1.0}, {"value": 0.0}]}},
        ],
        "method": own("ties", parameters={"normalize": False, "lambda": 2}),
    }
    out, _ = merged(tmp_path / "out", pico_base, [(one, 1.0), (two, 1.0)], engine="mergekit", **fields)
    base, first, second, result = (tensors(folder) for folder in (pico_base, one, two, out))
    for name, start in base.items():
        if ".mlp." in name:
            expected = start + 2 * (second[name] - start)
        else:
            share = 1.0 if ".layers.1." in name or name == "model.norm.weight" else 0.5
            expected = start + 2 * share * (first[name] - start)
        torch.testing.assert_close(result[name], expected, msg=name)


def test_layers_are_stacked_into_a_model_that_loads(pico_base: Path, pico_tuned, tmp_path: Path) -> None:
    one, two = pico_tuned
    stack = slices([("base", 0, 2)], [(one.name, 0, 1)], [(two.name, 0, 2)], [(one.name, 0, 1)])
    method = own("passthrough", slices=stack)
    out, metrics = merged(tmp_path / "out", pico_base, {one: 1.0, two: 1.0}, method=method, engine="mergekit")
    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.config.num_hidden_layers == 6
    result = tensors(out)
    for at, (folder, layer) in enumerate([(pico_base, 0), (pico_base, 1), (one, 0), (two, 0), (two, 1), (one, 0)]):
        name = "model.layers.{}.mlp.up_proj.weight"
        assert result[name.format(at)].equal(tensors(folder)[name.format(layer)])
    assert metrics["tensors"] == len(result) and metrics["changed"] is None
    assert files(out)["tokenizer.json"] == files(pico_base)["tokenizer.json"]
    assert files(out)["generation_config.json"] == files(pico_base)["generation_config.json"]
    assert str(tmp_path) not in (out / "config.json").read_text()


def test_stacked_layers_are_merged_with_the_weights_of_their_slice(pico_base, pico_tuned, tmp_path: Path) -> None:
    sources = [
        {"use": "base", "layer_range": [0, 1], "parameters": {"weight": 1.0}},
        {"use": pico_tuned[0].name, "layer_range": [1, 2], "parameters": {"weight": 3.0}},
    ]
    method = own("linear", slices=[{"sources": sources}])
    out, _ = merged(tmp_path / "out", pico_base, {pico_tuned[0]: 1.0}, method=method, engine="mergekit")
    name = "model.layers.{}.mlp.up_proj.weight"
    a, b = tensors(pico_base)[name.format(0)], tensors(pico_tuned[0])[name.format(1)]
    torch.testing.assert_close(tensors(out)[name.format(0)], a / 4 + b * 3 / 4)


def test_layers_that_are_not_there_are_said(pico_base: Path, pico_tuned, tmp_path: Path) -> None:
    method = own("passthrough", slices=slices([("base", 0, 2)], [(pico_tuned[0].name, 1, 7)]))
    with pytest.raises(UserError, match="mergekit"):
        merged(tmp_path / "out", pico_base, {pico_tuned[0]: 1.0}, method=method, engine="mergekit")


def test_nan_in_an_input_is_not_written_silently(pico_base: Path, pico_tuned, tmp_path: Path) -> None:
    def spoil(weights: dict) -> dict:
        weights["model.norm.weight"][3] = float("nan")
        return weights

    broken = edited(pico_tuned[0], tmp_path / "broken", spoil)
    with pytest.raises(UserError, match=r"NaN or infinite values into model\.norm\.weight"):
        merged(tmp_path / "out", pico_base, {broken: 1.0}, method=own("ram"), engine="mergekit")


@pytest.mark.parametrize("method", [own("ram"), {"kind": "ties"}], ids=["mergekit", "ties"])
def test_bad_models_get_our_messages_before_mergekit_runs(pico_base, pico_tuned, tmp_path: Path, method) -> None:
    def without(weights: dict) -> dict:
        return {name: weight for name, weight in weights.items() if name != "model.norm.weight"}

    lacking = edited(pico_tuned[0], tmp_path / "lacking", without)
    with pytest.raises(UserError, match=r"lacking: lacks 1 tensor that the base has \(got model\.norm\.weight\)"):
        merged(tmp_path / "out", pico_base, {lacking: 1.0}, method=method, engine="mergekit")


def test_a_tied_head_that_mergekit_would_add_is_refused(pico_base: Path, pico_tuned, tmp_path: Path) -> None:
    stored = edited(
        pico_tuned[0],
        tmp_path / "stored",
        lambda all_: all_ | {"lm_head.weight": all_["model.embed_tokens.weight"] + 0},
    )
    with pytest.raises(UserError, match=r"mergekit wrote other tensors than the base has \(got lm_head\.weight\)"):
        merged(tmp_path / "out", pico_base, {stored: 1.0}, method={"kind": "ties"}, engine="mergekit")


@pytest.mark.slow
def test_hash_seeds_and_a_missing_network_change_no_byte(pico_base: Path, pico_tuned, tmp_path: Path) -> None:
    # 1.5: the donor of config and tokenizer came from a set, and the card asked the hub about ck/base.
    code = (
        "import sys, pathlib; from tests.unit.merge.models import merged; "
        "out, base, one, two = map(pathlib.Path, sys.argv[1:]); "
        "kind = {'kind': 'mergekit', 'name': 'dare_ties', 'parameters': {'density': 0.5}, 'seed': 3}; "
        "merged(out / 'dare', base, [(one, 1.0), (two, 1.0)], method=kind, engine='mergekit'); "
        "stack = [{'sources': [{'use': name, 'layer_range': [0, 2]} for name in (one.name, two.name)]}]; "
        "kind = {'kind': 'mergekit', 'name': 'nuslerp', 'task_vectors': False, 'slices': stack}; "
        "kind['slices'][0]['parameters'] = {'weight': 1}; "
        "merged(out / 'stack', base, [(one, 1.0), (two, 1.0)], method=kind, engine='mergekit')"
    )
    made = []
    for seed in ("0", "1", "2"):
        out = tmp_path / seed
        told = [sys.executable, "-c", code, out, pico_base, *pico_tuned]
        subprocess.run(told, env=os.environ | {"PYTHONHASHSEED": seed, "HF_HUB_OFFLINE": "1"}, check=True)
        made.append([files(out / name) for name in ("dare", "stack")])
    assert made[0] == made[1] == made[2]
    assert json.loads(made[0][0]["config.json"]) == json.loads((pico_base / "config.json").read_text())
