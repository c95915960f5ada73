"""Rules on the values of an adapter: finite, and not without any effect."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import safe_open

from pipelines.errors import few
from pipelines.hf.safetensors import TensorInfo
from pipelines.serving.findings import Finding
from pipelines.serving.lint.adapter_keys import pairs


def rules(path: Path, tensors: Mapping[str, TensorInfo]) -> list[Finding]:
    """NaN and infinite numbers, and products that are zero. One tensor is in memory at a time."""
    broken, zero = [], set()
    with safe_open(path, framework="pt") as file:
        for name in tensors:
            values = file.get_tensor(name).float()
            if not torch.isfinite(values).all():
                broken.append(name)
            elif not values.any():
                zero.add(name)
    return [*_broken(path, broken), *_idle(path, tensors, zero)]


def _broken(path: Path, names: list[str]) -> Iterator[Finding]:
    if names:
        what = f"holds NaN or infinite numbers, with which every answer is noise: {len(names)} tensors"
        fix = "Use an earlier checkpoint: the training diverged, or its dtype overflowed"
        yield Finding("adapter-not-finite", "E", str(path), what, few(sorted(names)), fix)


def _idle(path: Path, tensors: Mapping[str, TensorInfo], zero: set[str]) -> Iterator[Finding]:
    modules = pairs(tensors)
    idle = [module for module, pair in modules.items() if pair.a in zero or pair.b in zero]
    if not idle:
        return
    fix = "Check that the trained adapter was saved: B is zero before the first step"
    if len(idle) == len(modules):
        what = "changes nothing: A or B of every module is zero, and answers are those of the base"
        yield Finding("adapter-no-op", "E", str(path), what, f"{len(idle)} modules", fix)
    else:
        what = f"changes nothing in {len(idle)} of {len(modules)} modules, whose A or B is zero"
        yield Finding("adapter-partly-idle", "W", str(path), what, few(idle), fix)
