"""Pico folders of many architectures as save_pretrained writes them, put right: nothing is wrong with them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
)

from pipelines.export.dual import dual_config
from tests import pico
from tests.unit.serving.lint.changes import settings

SIZES = pico.SIZES
LATENT = {
    "moe_intermediate_size": 16,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 2,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "num_key_value_heads": 4,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512}


class Kind(NamedTuple):
    """A model type and what its config has beyond the usual sizes."""

    model_type: str
    settings: Mapping[str, Any] = {}


KINDS = {
    "llama": Kind("llama"),
    "llama-tied": Kind("llama", {"tie_word_embeddings": True}),
    "mistral": Kind("mistral"),
    "qwen2": Kind("qwen2", {"tie_word_embeddings": True}),
    "qwen3": Kind("qwen3", {"head_dim": 16}),
    "gemma2": Kind("gemma2", {"head_dim": 8}),
    "gemma3": Kind("gemma3_text", {"head_dim": 8}),
    "phi3": Kind("phi3", {"original_max_position_embeddings": 512}),
    "mixtral": Kind("mixtral", {"num_local_experts": 4}),
    "qwen2-moe": Kind("qwen2_moe", EXPERTS | {"shared_expert_intermediate_size": 32}),
    "qwen3-moe": Kind("qwen3_moe", EXPERTS),
    "deepseek-v3": Kind("deepseek_v3", LATENT),
    "gemma3-wrapped": Kind(
        "gemma3",
        {
            "text_config": SIZES | {"vocab_size": 400, "head_dim": 8},
            "vision_config": SIZES | {"image_size": 28, "patch_size": 14},
            "mm_tokens_per_image": 4,
        },
    ),
    "gpt2": Kind("gpt2", GPT2),
    "gpt-neox": Kind("gpt_neox"),
    "olmo2": Kind("olmo2"),
    "granite": Kind("granite"),
    "smollm3": Kind("smollm3"),
    "starcoder2": Kind("starcoder2"),
    "falcon": Kind("falcon"),
    "gpt-oss": Kind(
        "gpt_oss",
        {
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "head_dim": 8,
            "rope_parameters": {"rope_type": "default", "rope_theta": 150000.0},
        },
    ),
    "llama4": Kind("llama4_text", {"num_local_experts": 2, "intermediate_size_mlp": 64, "head_dim": 8}),
    "mamba": Kind("mamba"),
    "jamba": Kind("jamba", {"num_experts": 2, "mamba_d_state": 4, "attn_layer_period": 2, "attn_layer_offset": 1}),
}

NOT_IN_VLLM = frozenset[str]()
"""Kinds that vLLM serves with the implementation of transformers."""


def model(name: str, seed: int = 0) -> PreTrainedModel:
    """A random model of that kind in bfloat16, tied unless its settings or its type say no."""
    words, kind = pico.tokenizer(), KINDS[name]
    special = {
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
    }
    sizes = {} if "text_config" in kind.settings else SIZES | {"vocab_size": len(words)}
    config = AutoConfig.for_model(kind.model_type, **(sizes | special | kind.settings))
    torch.manual_seed(seed)
    maker = AutoModelForImageTextToText if "text_config" in kind.settings else AutoModelForCausalLM
    made = maker.from_config(config, dtype=torch.bfloat16)
    # Zeros that no trained model has.
    for name, weight in made.named_parameters():
        if name.endswith("mm_input_projection_weight"):
            torch.nn.init.normal_(weight)
    made.generation_config = GenerationConfig(**special)
    return made


def save(name: str, folder: Path, max_shard_size: str = "50GB") -> Path:
    """The folder that save_pretrained makes, with its configs put right for every reader, a card and a licence."""
    made = model(name)
    made.save_pretrained(folder, max_shard_size=max_shard_size)
    pico.tokenizer().save_pretrained(folder)
    # Classes of transformers 5 (Qwen2Tokenizer) split text in a way of their own, which the file then has too.
    AutoTokenizer.from_pretrained(folder).save_pretrained(folder)
    tied = bool(made.config.get_text_config().tie_word_embeddings)
    settings(folder / "config.json", **dual_config(json.loads((folder / "config.json").read_text()), "bfloat16", tied))
    settings(folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast", chat_template=pico.CHATML)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Pico\n")
    # Only their owner may read the weights that safetensors writes.
    for file in folder.iterdir():
        file.chmod(0o644)
    return folder
