"""A pico model of every architecture that users fine-tune, with rotary settings that are not anyone's default."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from tests import pico

_SMALL = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512,
}  # fmt: skip
_PLAIN = {"rope_type": "default", "rope_theta": 500000.0}
_LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip
_YARN = {
    "rope_type": "yarn", "rope_theta": 20000.0, "factor": 4.0, "original_max_position_embeddings": 128,
    "beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0,
}  # fmt: skip
_BY_LAYER = {
    "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 20000.0},
}
_LONG = {
    "rope_type": "longrope", "rope_theta": 20000.0, "original_max_position_embeddings": 64,
    "short_factor": [1.0, 1.5, 2.0, 2.5], "long_factor": [1.0, 2.0, 4.0, 8.0],
}  # fmt: skip
_MIXTURE = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}

ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", _SMALL | {"rope_parameters": _PLAIN, "tie_word_embeddings": True}),
    "llama3": ("llama", _SMALL | {"rope_parameters": _LLAMA3}),
    "mistral": ("mistral", _SMALL | {"rope_parameters": _PLAIN, "sliding_window": 16}),
    "qwen2": ("qwen2", _SMALL | {"rope_parameters": _PLAIN, "tie_word_embeddings": True}),
    "qwen3": ("qwen3", _SMALL | {"rope_parameters": _YARN, "head_dim": 12}),
    "gemma2": ("gemma2", _SMALL | {"rope_parameters": _PLAIN, "head_dim": 12, "sliding_window": 16}),
    "gemma3": ("gemma3_text", _SMALL | {"rope_parameters": _BY_LAYER, "head_dim": 12, "sliding_window": 16,
                                        "layer_types": ["sliding_attention", "full_attention"]}),
    "phi3": ("phi3", _SMALL | {"rope_parameters": _LONG, "original_max_position_embeddings": 64}),
    "mixtral": ("mixtral", _SMALL | _MIXTURE | {"rope_parameters": _PLAIN}),
    "qwen3_moe": ("qwen3_moe", _SMALL | _MIXTURE | {"rope_parameters": _PLAIN, "head_dim": 12}),
    "deepseek_v3": ("deepseek_v3", _SMALL | {
        "rope_parameters": _YARN, "num_key_value_heads": 4, "q_lora_rank": 16, "kv_lora_rank": 16,
        "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8, "n_routed_experts": 4, "num_experts_per_tok": 2,
        "n_group": 2, "topk_group": 1, "moe_intermediate_size": 24, "first_k_dense_replace": 1}),
    "gpt2": ("gpt2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512}),
}  # fmt: skip


def save(folder: Path, name: str, seed: int = 0, dtype: torch.dtype = torch.float32) -> Path:
    """A random model of one of `ARCHITECTURES`, as transformers 5 saves it."""
    words, (kind, settings) = pico.tokenizer(), ARCHITECTURES[name]
    special = {
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
    }
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, vocab_size=len(words), **settings, **special))
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn(weight.shape))
    model.generation_config = GenerationConfig(**special)
    model.to(dtype).save_pretrained(folder)
    words.save_pretrained(folder)
    # Some kinds (qwen2) are always loaded with a class that splits text in its own way, whatever the file says.
    AutoTokenizer.from_pretrained(folder).save_pretrained(folder)
    return folder
