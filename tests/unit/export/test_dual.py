"""Configs in both spellings, for the shapes that rotary settings come in."""

import pytest

from pipelines.errors import UserError
from pipelines.export.dual import dual_config, dual_rope, dual_tokenizer_config

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def test_config_plain_rope_is_written_twice():
    config = dual_config(
        {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}, "dtype": "float32"}, "bfloat16", True
    )
    assert config == {
        "dtype": "bfloat16",
        "torch_dtype": "bfloat16",
        "rope_parameters": {"rope_type": "default", "rope_theta": 5e5},
        "rope_theta": 5e5,
        "rope_scaling": None,
        "tie_word_embeddings": True,
    }


def test_rope_scaled_keeps_its_scaling():
    assert dual_rope({"rope_parameters": LLAMA3 | {"rope_theta": 5e5}}) == {"rope_theta": 5e5, "rope_scaling": LLAMA3}


def test_rope_of_version_four_gets_the_new_name():
    old = {"rope_theta": 5e5, "rope_scaling": LLAMA3}
    assert dual_rope(old) == {"rope_parameters": LLAMA3 | {"rope_theta": 5e5}}
    linear = {"rope_theta": 1e4, "rope_scaling": {"type": "linear", "factor": 2.0}}
    assert dual_rope(linear)["rope_parameters"] == {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}


def test_rope_by_layer_type_gives_both_bases():
    layers = {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }
    assert dual_rope({"rope_parameters": layers}) == {
        "rope_theta": 1e6,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        "rope_local_base_freq": 1e4,
    }


def test_rope_partial_rotation_stays_at_the_top_for_version_four():
    new = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}
    assert dual_rope({"rope_parameters": new}) == {
        "rope_theta": 1e4,
        "rope_scaling": None,
        "partial_rotary_factor": 0.5,
    }


def test_rope_absent_adds_nothing():
    assert dual_rope({"n_positions": 1024}) == {}


def test_rope_written_twice_is_stable():
    once = dual_config({"rope_parameters": LLAMA3 | {"rope_theta": 5e5}}, "float32", False)
    assert dual_config(once, "float32", False) == once


def test_rope_in_two_spellings_that_disagree_is_refused():
    with pytest.raises(UserError, match=r"rope_theta and rope_parameters disagree \(got 10000.0 and 500000.0\)"):
        dual_rope({"rope_theta": 1e4, "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}})


def test_config_text_config_is_treated_alike():
    text = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}, "dtype": "float32"}
    config = dual_config({"text_config": text, "quantization_config": {}, "_name_or_path": "x"}, "float16", False)
    assert config["text_config"]["rope_theta"] == 1e6
    assert config["text_config"]["torch_dtype"] == "float16"
    assert config["text_config"]["tie_word_embeddings"] is False
    assert not {"quantization_config", "_name_or_path"} & config.keys()


def test_tokenizer_config_names_a_class_that_both_versions_know():
    settings = {"tokenizer_class": "TokenizersBackend", "backend": "tokenizers", "is_local": True, "eos_token": "x"}
    assert dual_tokenizer_config(settings, "T", 512) == {
        "chat_template": "T",
        "eos_token": "x",
        "model_max_length": 512,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }


@pytest.mark.parametrize(("length", "shipped"), [(128, 128), (10**30, 512), (None, 512)])
def test_tokenizer_config_maximum_length_is_real(length: int | None, shipped: int):
    assert dual_tokenizer_config({"model_max_length": length}, None, 512)["model_max_length"] == shipped


def test_tokenizer_config_extra_tokens_get_the_older_name():
    shipped = dual_tokenizer_config({"extra_special_tokens": ["<a>"]}, None, None)
    assert shipped["additional_special_tokens"] == ["<a>"]
    assert "extra_special_tokens" not in shipped


def test_deepseek_config_says_how_experts_are_chosen_and_keeps_what_it_said() -> None:
    shipped = dual_config({"model_type": "deepseek_v3"}, "bfloat16", False)
    assert (shipped["topk_method"], shipped["scoring_func"]) == ("noaux_tc", "sigmoid")
    kept = dual_config({"model_type": "deepseek_v3", "scoring_func": "softmax"}, "bfloat16", False)
    assert kept["scoring_func"] == "softmax"
    assert "topk_method" not in dual_config({"model_type": "llama"}, "bfloat16", False)
