"""Folders to merge, and the merge of them, for the tests of this room."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from pipelines.engine.stage import Artifact
from pipelines.merge.config import MergeConfig
from pipelines.merge.run import run

Tensors = dict[str, torch.Tensor]


def artifact(folder: Path, kind: str = "model", key: str = "") -> Artifact:
    return Artifact(folder.name, kind, folder, key or folder.name)


def merged(
    out: Path, base: Path, members: Mapping[Path, float] | list[tuple[Path, float]], **fields: Any
) -> tuple[Path, dict[str, Any]]:
    """Run the stage; the members are adapters where they look like one."""
    pairs = list(members.items()) if isinstance(members, Mapping) else members
    inputs = {"base": artifact(base)}
    models = []
    for folder, weight in pairs:
        kind = "adapter" if (folder / "adapter_config.json").exists() else "model"
        inputs[folder.name] = artifact(folder, kind)
        models.append({"use": folder.name, "weight": weight})
    config = MergeConfig.model_validate({"models": models, "method": {"kind": "linear"}} | fields)
    out.mkdir(parents=True)
    return out, run(config, inputs, out)


def tensors(folder: Path) -> Tensors:
    return {name: tensor for path in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(path).items()}


def edited(source: Path, target: Path, change: Callable[[Tensors], Tensors], **config: Any) -> Path:
    """A copy of a model folder with other tensors and config entries."""
    shutil.copytree(source, target)
    weights = target / "model.safetensors"
    save_file(change(load_file(weights)), weights, {"format": "pt"})
    settings = json.loads((target / "config.json").read_text()) | config
    (target / "config.json").write_text(json.dumps(settings))
    return target


def cast(source: Path, target: Path, dtype: torch.dtype) -> Path:
    name = str(dtype).removeprefix("torch.")
    return edited(source, target, lambda weights: {key: value.to(dtype) for key, value in weights.items()}, dtype=name)


def sharded(source: Path, target: Path, parts: int = 3) -> Path:
    """A copy in `parts` shards with an index."""
    shutil.copytree(source, target)
    weights = load_file(target / "model.safetensors")
    (target / "model.safetensors").unlink()
    placed = {name: f"model-{at % parts + 1:05}-of-{parts:05}.safetensors" for at, name in enumerate(sorted(weights))}
    for file in sorted(set(placed.values())):
        save_file({name: weights[name] for name in placed if placed[name] == file}, target / file, {"format": "pt"})
    index = {"metadata": {"total_size": sum(t.nbytes for t in weights.values())}, "weight_map": placed}
    (target / "model.safetensors.index.json").write_text(json.dumps(index))
    return target


def same(left: Path, right: Path) -> bool:
    """Whether two folders hold bitwise the same tensors in the same types."""
    a, b = tensors(left), tensors(right)
    return a.keys() == b.keys() and all(a[n].dtype == b[n].dtype and a[n].equal(b[n]) for n in a)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
