"""A base held in 4-bit NormalFloat: how it is quantised, and the values that it then has.

Paper: Dettmers et al. 2023, "QLoRA", arXiv 2305.14314.
"""

from collections.abc import Callable
from functools import partial

import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit
from transformers import BitsAndBytesConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D


def nf4(dtype: torch.dtype, double_quant: bool, sharded: bool = False) -> BitsAndBytesConfig:
    """4-bit NormalFloat weights that compute in `dtype`. Sharding (FSDP) needs them stored as a floating-point type."""
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=double_quant,
        bnb_4bit_compute_dtype=dtype,
        bnb_4bit_quant_storage=dtype if sharded else torch.uint8,
    )


def as_trained(model: torch.nn.Module) -> torch.nn.Module:
    """The model in eval mode, with quantised weights that compute as they do while it is trained.

    On some CPUs bitsandbytes repacks weights in eval mode, in place and with scales rounded to bfloat16.
    """
    model.eval()
    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.train()
    return model


def dequantised(model: PreTrainedModel) -> dict[str, Callable[[], torch.Tensor]]:
    """The quantised weights of a loaded model by name; each is called for the values that the model computes with."""
    return {
        f"{name}.weight": partial(_values, module)
        for name, module in model.named_modules()
        if isinstance(module, Linear4bit)
    }


def _values(module: Linear4bit) -> torch.Tensor:
    values: torch.Tensor = dequantize_4bit(module.weight.data, module.weight.quant_state).cpu()
    # A Conv1D, whose weight is [in, out], was turned round to be quantised.
    return values.T.contiguous() if getattr(module, "source_cls", None) is Conv1D else values
