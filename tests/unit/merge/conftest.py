"""LoRA adapters on the pico model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

MakeLora = Callable[..., Path]


def save_lora(base: Path, folder: Path, seed: int = 0, **settings: Any) -> Path:
    """An adapter of random A and B."""
    defaults = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj", "down_proj"], "task_type": "CAUSAL_LM"}
    torch.manual_seed(seed)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(**(defaults | settings)))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name and "magnitude" not in name:
                weight.copy_(0.05 * torch.randn(weight.shape))
    model.save_pretrained(folder, save_embedding_layers=False)
    return folder


@pytest.fixture(scope="session")
def lora(tmp_path_factory: pytest.TempPathFactory, pico_base: Path) -> Path:
    return save_lora(pico_base, tmp_path_factory.mktemp("pico-lora") / "lora")
