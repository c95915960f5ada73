"""A trained model as a folder: new weights, and every other file as the base has it."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from transformers import PreTrainedModel

from pipelines.hf.folder import CONFIG, GENERATION, companions, describe
from pipelines.hf.safetensors import tensor_map


def save_model(model: PreTrainedModel, state: Mapping[str, torch.Tensor], base: Path, folder: Path) -> None:
    """Write the weights in the type of the base, rounded once, beside the base's own config, tokenizer and licence.

    The base's files are copied because transformers, while it trains, changes special ids in those that it would write.
    """
    model.save_pretrained(folder, state_dict=cast(state, getattr(torch, describe(base)["dtype"])))
    for name in (CONFIG, GENERATION):
        (folder / name).unlink(missing_ok=True)
    kept = [base / name for name in (CONFIG, GENERATION) if (base / name).is_file()]
    for file in [*kept, *companions(base)]:
        shutil.copyfile(file, folder / file.name)
    if strange := tensor_map(folder).keys() - tensor_map(base).keys():
        raise RuntimeError(f"weights that the base does not have were saved: {sorted(strange)}")


def cast(state: Mapping[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Every floating-point tensor in `dtype`, on the CPU. Names that share a tensor (tied weights) share its copy."""
    made: dict[int, torch.Tensor] = {}
    for tensor in state.values():
        wanted = dtype if tensor.is_floating_point() else tensor.dtype
        made.setdefault(tensor.data_ptr(), tensor.detach().to("cpu", wanted).contiguous())
    return {name: made[tensor.data_ptr()] for name, tensor in state.items()}
