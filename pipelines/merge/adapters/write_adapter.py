"""A merged adapter as a PEFT folder, written module by module: no more than one product is ever in memory."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any

import torch

from pipelines.hf.rewrite import CODES
from pipelines.hf.shards import require_space
from pipelines.merge.adapters.methods import Module
from pipelines.merge.adapters.open_adapter import CONFIG, PREFIX, WEIGHTS
from pipelines.merge.unfit import unfit

_ENTRY = 120
"""Bytes that type, shape and place of a tensor take up at most in a header, beside its name."""


def write_adapter(
    folder: Path, modules: Iterable[Module], wanted: Sequence[str], tensors: Iterable[str], base: str, dtype: str
) -> dict[str, int]:
    """Write adapter_config.json and adapter_model.safetensors; returns the rank of each module.

    `wanted` are the tensors that may come; `tensors` are all that the base has, by which modules are named as shortly
    as they can be; `base` goes into the config as it is. All scales are in the factors: alpha is the rank everywhere.
    """
    ranks: dict[str, int] = {}
    transposed: set[bool] = set()

    def factors() -> Iterator[tuple[str, torch.Tensor]]:
        for module in modules:
            name = module.tensor.removesuffix(".weight")
            ranks[name] = module.product.rank
            if not module.like.embedding:
                transposed.add(module.like.transposed)
            for key, factor in _stored(name, module).items():
                yield key, _narrowed(factor, dtype, module.tensor)

    names = [f"{PREFIX}{tensor.removesuffix('.weight')}.lora_embedding_{side}" for tensor in wanted for side in "AB"]
    _write_tensors(folder / WEIGHTS, factors(), names)
    if not ranks:
        raise unfit("models", "all weights are 0 where the adapters change anything", "", "Correct the weights")
    settings = _settings(ranks, targets(ranks, tensors), transposed == {True}, base)
    (folder / CONFIG).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for name in (CONFIG, WEIGHTS):
        (folder / name).chmod(0o644)
    return ranks


def _narrowed(factor: torch.Tensor, dtype: str, tensor: str) -> torch.Tensor:
    """A factor in the type that it is stored in. UserError where it does not fit."""
    stored = factor.to(getattr(torch, dtype)).contiguous()
    if not torch.isfinite(stored).all():
        fix = "Set dtype: bfloat16, or make the weights smaller"
        raise unfit("models", f"tensor {tensor}: merged factors do not fit {dtype}", "", fix)
    return stored


def named_base(named: Iterable[str], base: str) -> str:
    """What base_model_name_or_path says: what all members say, if that is the same and no place on one machine."""
    told = set(named)
    name = told.pop() if len(told) == 1 else ""
    absolute = PurePath(name).is_absolute() or PureWindowsPath(name).is_absolute()
    return name if name and not absolute else base


def targets(modules: Iterable[str], tensors: Iterable[str]) -> list[str]:
    """Modules as target_modules names them: by the last part where all that end so are meant, else in full."""
    meant = set(modules)
    others = {_last(name) for tensor in tensors if (name := tensor.removesuffix(".weight")) not in meant}
    return sorted({name if _last(name) in others else _last(name) for name in meant})


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _stored(name: str, module: Module) -> dict[str, torch.Tensor]:
    """A [r, in] and B [out, r] under the names that peft gives them."""
    left, right, scale = module.product
    assert scale == 1
    a, b = (left.T, right.T) if module.like.transposed else (right, left)
    if module.like.embedding:
        return {f"{PREFIX}{name}.lora_embedding_A": a, f"{PREFIX}{name}.lora_embedding_B": b}
    return {f"{PREFIX}{name}.lora_A.weight": a, f"{PREFIX}{name}.lora_B.weight": b}


def _settings(ranks: Mapping[str, int], modules: list[str], transposed: bool, base: str) -> dict[str, Any]:
    """The config: the commonest rank, the larger of equally common ones, and the others by name."""
    counts = Counter(ranks.values())
    rank = max(counts, key=lambda value: (counts[value], value))
    odd = {name: own for name, own in sorted(ranks.items()) if own != rank}
    return {
        "alpha_pattern": odd,
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": transposed,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "peft_type": "LORA",
        "r": rank,
        "rank_pattern": odd,
        "target_modules": modules,
        "task_type": "CAUSAL_LM",
        "use_dora": False,
        "use_rslora": False,
    }


def _write_tensors(path: Path, tensors: Iterable[tuple[str, torch.Tensor]], names: Iterable[str]) -> None:
    """Write tensors as they come. Sizes are known at the end, so room for a header of `names` is left in front."""
    room = -(-(64 + sum(len(json.dumps(name)) + _ENTRY for name in names)) // 8) * 8
    table: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    with path.open("wb") as file:
        file.seek(8 + room)
        for name, tensor in tensors:
            dtype = CODES[str(tensor.dtype).removeprefix("torch.")]
            require_space(path.parent, tensor.nbytes)
            file.write(tensor.view(torch.uint8).numpy().data)
            table[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [at, at + tensor.nbytes]}
            at += tensor.nbytes
        head = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
        file.seek(0)
        file.write(room.to_bytes(8, "little") + head.ljust(room))
