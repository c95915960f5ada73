"""What cannot be merged is refused from configs and headers, with every reason."""

import json
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from pipelines.errors import UserError
from pipelines.merge.config import MergeConfig
from tests import pico
from tests.unit.merge.models import edited, merged

NAME = "model.layers.0.mlp.up_proj.weight"


def refusal(out: Path, base: Path, *models: Path) -> str:
    with pytest.raises(UserError) as caught:
        merged(out, base, [(model, 1.0) for model in models])
    assert not list(out.iterdir())
    return str(caught.value)


def weights(folder: Path) -> dict[str, bytes]:
    """The bytes of every tensor."""
    tensors = load_file(folder / "model.safetensors")
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}


def test_missing_tensor_is_refused(pico_base: Path, pico_tuned, tmp_path: Path) -> None:
    odd = edited(pico_tuned[0], tmp_path / "odd", lambda w: {n: t for n, t in w.items() if n != NAME})
    assert f"odd: lacks 1 tensor that the base has (got {NAME})" in refusal(tmp_path / "out", pico_base, odd)


def test_extra_tensor_is_refused(pico_base: Path, pico_tuned, tmp_path: Path) -> None:
    odd = edited(pico_tuned[0], tmp_path / "odd", lambda w: w | {"model.more.weight": torch.ones(2)})
    assert "odd: has 1 tensor that the base lacks (got model.more.weight)" in refusal(tmp_path / "out", pico_base, odd)


def test_other_shape_is_refused(pico_base: Path, pico_tuned, tmp_path: Path) -> None:
    odd = edited(pico_tuned[0], tmp_path / "odd", lambda w: w | {NAME: w[NAME].T.contiguous()})
    assert f"odd: has another shape than the base in 1 tensor (got {NAME} [32, 64]" in refusal(
        tmp_path / "out", pico_base, odd
    )


def test_model_of_another_size_is_a_line_for_all_its_tensors(pico_base: Path, tmp_path: Path) -> None:
    wide = pico.save_model(tmp_path / "wide", 1, hidden_size=64)
    shapes = refusal(tmp_path / "out", pico_base, wide).splitlines()[-1]
    assert shapes.startswith("wide: has another shape than the base in 20 tensors (got model.embed_tokens.weight [")
    assert shapes.count("the base's is") == 3


def test_type_that_is_no_float_is_refused(pico_base: Path, pico_tuned, tmp_path: Path) -> None:
    odd = edited(pico_tuned[0], tmp_path / "odd", lambda w: w | {NAME: w[NAME].to(torch.int8)})
    assert f"odd: has a type that cannot be merged in 1 tensor (got {NAME} I8" in refusal(
        tmp_path / "out", pico_base, odd
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model_type", "mistral"),
        ("num_attention_heads", 8),
        ("rms_norm_eps", 1e-2),
        ("rope_parameters", {"rope_theta": 7.0}),
    ],
)
def test_other_architecture_is_refused(pico_base: Path, pico_tuned, tmp_path: Path, key: str, value: object) -> None:
    odd = edited(pico_tuned[0], tmp_path / "odd", dict, **{key: value})
    assert f"odd: is another architecture than the base: {key}" in refusal(tmp_path / "out", pico_base, odd)


def test_config_of_transformers_4_is_the_same_architecture(pico_base: Path, pico_tuned, tmp_path: Path) -> None:
    old = edited(pico_tuned[0], tmp_path / "old", dict)
    config = json.loads((old / "config.json").read_text())
    rope = config.pop("rope_parameters")
    config |= {"rope_theta": rope["rope_theta"], "rope_scaling": None, "torch_dtype": config.pop("dtype")}
    (old / "config.json").write_text(json.dumps(config | {"eos_token_id": 1, "use_cache": False}))
    out, _ = merged(tmp_path / "out", pico_base, {old: 1.0})
    assert weights(out) == weights(old)


def test_other_tying_is_refused(pico_base: Path, tmp_path: Path) -> None:
    untied = pico.save_model(tmp_path / "untied", 1, tie_word_embeddings=False)
    assert "untied: ties its embeddings otherwise than the base" in refusal(tmp_path / "out", pico_base, untied)


def test_quantised_weights_are_refused(pico_base: Path, pico_tuned, tmp_path: Path) -> None:
    odd = edited(pico_tuned[0], tmp_path / "odd", dict, quantization_config={"quant_method": "bitsandbytes"})
    assert "odd: holds quantised weights" in refusal(tmp_path / "out", pico_base, odd)
    assert "odd: holds quantised weights" in refusal(tmp_path / "out2", odd, pico_tuned[1])


def change_tokenizer(folder: Path, target: Path, **changes: object) -> Path:
    edited(folder, target, dict)
    content = json.loads((target / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    if "swap" in changes:
        vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    content["truncation"] = None if "swap" in changes else {"direction": "Right", "max_length": 9, "stride": 0}
    (target / "tokenizer.json").write_text(json.dumps(content))
    return target


def test_other_vocabulary_is_refused(pico_base: Path, pico_tuned, tmp_path: Path) -> None:
    odd = change_tokenizer(pico_tuned[0], tmp_path / "odd", swap=True)
    assert "odd: has another tokenizer than base" in refusal(tmp_path / "out", pico_base, odd)


def test_other_truncation_is_the_same_vocabulary(pico_base: Path, pico_tuned, tmp_path: Path) -> None:
    fine = change_tokenizer(pico_tuned[0], tmp_path / "fine")
    out, _ = merged(tmp_path / "out", pico_base, {fine: 1.0})
    assert weights(out) == weights(fine)


def test_truncated_file_is_refused(pico_base: Path, pico_tuned, tmp_path: Path) -> None:
    odd = edited(pico_tuned[0], tmp_path / "odd", dict)
    weights = odd / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "model.safetensors: is truncated" in refusal(tmp_path / "out", pico_base, odd)


def test_folder_without_weights_is_refused(pico_base: Path, pico_tuned, tmp_path: Path) -> None:
    odd = edited(pico_tuned[0], tmp_path / "odd", dict)
    (odd / "model.safetensors").unlink()
    assert "holds no safetensors weights" in refusal(tmp_path / "out", pico_base, odd)


def test_all_reasons_of_all_models_are_given(pico_base: Path, pico_tuned, tmp_path: Path) -> None:
    one = edited(pico_tuned[0], tmp_path / "one", lambda w: w | {NAME: torch.ones(2, 2)}, hidden_act="relu")
    two = change_tokenizer(pico_tuned[1], tmp_path / "two", swap=True)
    said = refusal(tmp_path / "out", pico_base, one, two)
    assert len(said.splitlines()) == 3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"models": [{"use": "a", "weight": 0.1}, {"use": "b", "weight": 0.2}, {"use": "c", "weight": -0.3}]},
            "negative weights have no meaning in linear",
        ),
        ({"models": [{"use": "a", "weight": 0}, {"use": "b", "weight": 0}]}, "sum to 0"),
        ({"models": [{"use": "a"}, {"use": "b"}], "method": {"kind": "interpolate", "alpha": 0.5}}, "use linear"),
        ({"models": [{"use": "a", "weight": 2}], "method": {"kind": "interpolate", "alpha": 0.5}}, "takes no weight"),
        ({"models": [{"use": "a", "weight": -1}], "method": {"kind": "ties"}}, "negative weights"),
        ({"models": [{"use": "a", "weight": 0}], "method": {"kind": "ties"}}, "all weights are 0"),
        ({"models": [{"use": "a", "weight": float("nan")}]}, "finite"),
        ({"models": [{"use": "a", "weight": 1.7e308}]}, "less than or equal"),
        ({"models": [{"use": "a"}], "method": {"kind": "task_arithmetic", "lambda": -1e31}}, "greater than or equal"),
        ({"models": [{"use": "a"}], "shard_size": "0MB"}, r"shard_size must be more than 0 \(got 0MB\)"),
        ({"models": [{"use": "a"}], "shard_size": "0.0000001MB"}, "shard_size must be more than 0"),
        ({"models": [{"use": "a"}], "method": {"kind": "slurp"}}, "linear"),
        ({"models": [{"use": "a"}], "method": {"kind": "model_stock"}}, "at least 2"),
        ({"models": [{"use": "a"}], "method": {"kind": "della", "density": 0.95}}, r"density \+ epsilon, the largest"),
        ({"models": [{"use": "a"}], "method": {"kind": "della", "density": 0.1}}, "density - epsilon, the smallest"),
        (
            {"models": [{"use": "a"}], "method": {"kind": "della", "density": [0.3, 0.6], "epsilon": [0.1, 0.2, 0.5]}},
            "got 0.6 and 0.5",
        ),
        (
            {"models": [{"use": "a"}], "method": {"kind": "della", "epsilon": {"*.mlp.*": 0.1, "*": [0.1, 0.6]}}},
            "got 0.5 and 0.6",
        ),
        ({"models": [{"use": "a"}], "method": {"kind": "breadcrumbs", "gamma": 0.2}}, "add up to at most 1"),
    ],
)
def test_config_that_makes_no_sense_is_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        MergeConfig.model_validate({"method": {"kind": "linear"}} | fields)
