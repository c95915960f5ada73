"""The mixtures of types, against files that llama.cpp's own quantiser is known to write."""

from collections import Counter

import pytest

from pipelines.quantize.mixture import Shape, is_quantised, mixture, use_more_bits

WIDTH = 4096


def tensors(layers: int, width: int = WIDTH, tied: bool = False, expert: bool = False) -> dict[str, list[int]]:
    """The matrices and norms of a Llama or Mixtral, by llama.cpp's names; the last number is a row."""
    many = "_exps" if expert else ""
    found = {"token_embd.weight": [32000, width], "output_norm.weight": [width]}
    if not tied:
        found["output.weight"] = [32000, width]
    for layer in range(layers):
        block = f"blk.{layer}."
        found |= {f"{block}attn_{name}.weight": [width, width] for name in ("q", "k", "v", "output")}
        found |= {f"{block}ffn_{name}{many}.weight": [8] * expert + [4 * width, width] for name in ("gate", "up")}
        found |= {f"{block}ffn_down{many}.weight": [8] * expert + [width, 4 * width]}
        found |= {f"{block}attn_norm.weight": [width], f"{block}ffn_norm.weight": [width]}
        if expert:
            found[f"{block}ffn_gate_inp.weight"] = [8, width]
    return found


LLAMA = Shape("llama", 0, 32, 32, 8)
MIXTRAL = Shape("llama", 8, 32, 32, 8)


def test_use_more_bits_of_32_layers_takes_both_ends_and_every_third_between() -> None:
    taken = [layer for layer in range(32) if use_more_bits(layer, 32)]
    assert taken == [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31]


def test_mixture_q4_k_m_of_llama_7b_is_the_published_one() -> None:
    """`llama_model_loader` prints 65 f32, 193 q4_K and 33 q6_K for every Q4_K_M file of a Llama 7B or 8B."""
    types = mixture("gguf_q4_k_m", tensors(32), LLAMA)
    assert Counter(types.values()) == {"Q4_K": 193, "Q6_K": 33}
    assert len(tensors(32)) - len(types) == 65
    assert types["output.weight"] == "Q6_K" and types["token_embd.weight"] == "Q4_K"
    assert types["blk.3.attn_v.weight"] == types["blk.3.ffn_down.weight"] == "Q6_K"
    assert types["blk.4.attn_v.weight"] == types["blk.4.ffn_down.weight"] == "Q4_K"


def test_mixture_q5_k_m_of_llama_7b_is_the_published_one() -> None:
    """193 q5_K and 33 q6_K."""
    assert Counter(mixture("gguf_q5_k_m", tensors(32), LLAMA).values()) == {"Q5_K": 193, "Q6_K": 33}


@pytest.mark.parametrize(("level", "kind"), [("gguf_q8_0", "Q8_0"), ("gguf_q6_k", "Q6_K")])
def test_mixture_of_one_type_is_that_type_everywhere(level: str, kind: str) -> None:
    assert Counter(mixture(level, tensors(32), LLAMA).values()) == {kind: 226}


def test_mixture_q4_k_m_of_mixtral_keeps_more_of_attention() -> None:
    """The published Mixtral 8x7B Q4_K_M: keys and values in q8_0, the output of attention in q5_K."""
    types = mixture("gguf_q4_k_m", tensors(32, expert=True), MIXTRAL)
    assert {types[f"blk.{layer}.attn_v.weight"] for layer in range(32)} == {"Q8_0"}
    assert {types[f"blk.{layer}.attn_k.weight"] for layer in range(32)} == {"Q8_0"}
    assert {types[f"blk.{layer}.attn_output.weight"] for layer in range(32)} == {"Q5_K"}
    assert types["blk.3.ffn_down_exps.weight"] == "Q6_K" and types["blk.4.ffn_down_exps.weight"] == "Q4_K"
    assert "blk.0.ffn_gate_inp.weight" not in types


def test_mixture_of_a_tied_model_takes_the_head_s_type_for_the_embedding() -> None:
    types = mixture("gguf_q4_k_m", tensors(4, tied=True), LLAMA._replace(layers=4))
    assert types["token_embd.weight"] == "Q6_K"


def test_mixture_of_70b_gives_values_five_bits_where_others_have_four() -> None:
    model = Shape("llama", 0, 80, 64, 8)
    types = mixture("gguf_q4_k_m", tensors(80), model)
    assert {types[f"blk.{layer}.attn_v.weight"] for layer in range(80)} == {"Q5_K", "Q6_K"}
    assert types["blk.12.attn_k.weight"] == "Q4_K"


def test_mixture_counts_layers_by_number_not_by_text() -> None:
    types = mixture("gguf_q4_k_m", dict(reversed(tensors(32).items())), LLAMA)
    assert types["blk.10.attn_v.weight"] == "Q4_K" and types["blk.2.attn_v.weight"] == "Q6_K"


def test_mixture_with_some_experts_shared_goes_by_the_layer_s_number() -> None:
    both = tensors(32, expert=True)
    both |= {f"blk.{layer}.ffn_down_shexp.weight": [WIDTH, 1024] for layer in range(32)}
    types = mixture("gguf_q4_k_m", both, MIXTRAL._replace(experts=60))
    for layer in range(32):
        assert (types[f"blk.{layer}.ffn_down_shexp.weight"] == "Q6_K") == use_more_bits(layer, 32)


@pytest.mark.parametrize(
    ("level", "width", "kind"),
    [
        ("gguf_q4_k_m", 576, "Q5_0"),
        ("gguf_q5_k_m", 576, "Q5_1"),
        ("gguf_q6_k", 576, "Q8_0"),
        ("gguf_q4_k_m", 100, "F16"),
        ("gguf_q8_0", 100, "F16"),
    ],
)
def test_mixture_of_rows_that_no_block_fits_falls_back(level: str, width: int, kind: str) -> None:
    types = mixture(level, {"blk.0.attn_q.weight": [width, width]}, LLAMA)
    assert types == {"blk.0.attn_q.weight": kind}


def test_mixture_of_a_tied_head_with_odd_rows_is_eight_bits() -> None:
    assert mixture("gguf_q4_k_m", {"token_embd.weight": [1000, 576]}, LLAMA) == {"token_embd.weight": "Q8_0"}


def test_mixture_of_falcon_keeps_its_own_rules() -> None:
    types = mixture("gguf_q4_k_m", tensors(32), LLAMA._replace(architecture="falcon"))
    assert types["output.weight"] == "Q8_0"
    assert [types[f"blk.{layer}.ffn_down.weight"] for layer in (0, 1, 2, 4)] == ["Q6_K", "Q6_K", "Q5_K", "Q4_K"]


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("blk.0.attn_norm.weight", [64, 64]),
        ("blk.0.attn_q.bias", [64]),
        ("blk.0.attn_q.bias", [1, 64]),
        ("blk.0.ffn_gate_inp.weight", [8, 64]),
        ("blk.0.ssm_conv1d.weight", [4, 64]),
        ("position_embd.weight", [512, 64]),
    ],
)
def test_is_quantised_of_what_stays_is_false(name: str, shape: list[int]) -> None:
    assert not is_quantised(name, shape)
