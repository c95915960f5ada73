"""Low-rank adapters on a model, and the files that they are kept in."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import PreTrainedModel

from pipelines.errors import Problem, UserError
from pipelines.train.config import Lora

ALL_LINEAR = "all-linear"


def with_adapters(model: PreTrainedModel, method: Lora) -> PeftModel:
    """The model with fresh adapters in float32; B is zero, so it still computes what it did.

    UserError where a target names no module: peft would leave out a misspelt one among several without a word.
    """
    if problems := target_problems((name for name, _ in model.named_modules()), method.targets):
        raise UserError(*problems)
    settings = LoraConfig(
        r=method.rank,
        lora_alpha=method.alpha if method.alpha is not None else 2 * method.rank,
        lora_dropout=method.dropout,
        target_modules=method.targets if isinstance(method.targets, str) else sorted(method.targets),
        use_rslora=method.rslora,
        task_type="CAUSAL_LM",
    )
    adapted = get_peft_model(model, settings)
    for weight in adapted.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
    return adapted


def target_problems(modules: Iterable[str], targets: str | tuple[str, ...]) -> list[Problem]:
    """A problem for each target that names no module, or the output head.

    As in peft, one string is a regular expression for whole names; in a list, each is a name or the end of one.
    """
    if targets == ALL_LINEAR:
        return []
    names = [name for name in modules if name]
    found = []
    for target in [targets] if isinstance(targets, str) else targets:
        if isinstance(targets, str):
            hits = [name for name in names if re.fullmatch(target, name)]
        else:
            hits = [name for name in names if name == target or name.endswith(f".{target}")]
        if not hits:
            known = ", ".join(sorted({name.rpartition(".")[2] for name in names if name.endswith("proj")}))
            fix = f"Use {ALL_LINEAR}" + (f" or some of {known}" if known else "")
            found.append(Problem("method.targets", "names no module of the model", target, fix))
        elif "lm_head" in hits:
            found.append(Problem("method.targets", "the output head takes no adapter", target, f"Use {ALL_LINEAR}"))
    return found


def save_adapter(model: PeftModel, state: Mapping[str, torch.Tensor], base_name: str, folder: Path) -> None:
    """Write adapter_config.json and adapter_model.safetensors, the same bytes for the same weights.

    `state` is the state dict of the whole model. The base is named, not located: a path would differ by machine.
    """
    weights = get_peft_model_state_dict(model, state_dict=dict(state))
    tensors = {name: weights[name].detach().float().cpu().contiguous() for name in sorted(weights)}
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    settings = _plain(model.peft_config["default"].to_dict())
    settings |= {"base_model_name_or_path": base_name, "inference_mode": True}
    text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
    (folder / "adapter_config.json").write_text(text, encoding="utf-8")


def _plain(value: Any) -> Any:
    """JSON with every set as a sorted list: the order of a set differs from process to process."""
    if isinstance(value, set | frozenset):
        return sorted(value)
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, dict) else value
