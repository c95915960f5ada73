"""The merge stage: from artifacts to a model folder or an adapter folder."""

import importlib
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.engine.stage import Inputs
from pipelines.errors import UserError
from pipelines.merge.carry import carry
from pipelines.merge.config import ADAPTER_METHODS, MergeConfig, shard_bytes
from pipelines.merge.descent import distant
from pipelines.merge.journal import prepare
from pipelines.merge.kinds import Kind
from pipelines.merge.members import idle_patterns, members
from pipelines.merge.plan import Plan, plan
from pipelines.merge.remarks import remarks
from pipelines.merge.summary import changed_tensors, delta_norm_ratios, merged_norm_ratio

_BURNISH = "pipelines.merge.stream:merge"
_MERGEKIT = "pipelines.merge.mergekit.engine:merge"
_ADAPTERS = "pipelines.merge.adapters.merge_adapters:merge_adapters"
_QUANTISED = "pipelines.merge.adapters.quantised:bake_quantised"


def run(config: MergeConfig, inputs: Inputs, out_dir: Path) -> dict[str, Any]:
    """Merge `config.models` on `config.base` into a model folder, or an adapter folder where `output` says so."""
    started = time.monotonic()
    given = members(config, inputs)
    artifacts = [one.artifact for one in given]
    planned = plan(inputs[config.base], artifacts, [one.weight for one in given], config.dtype)
    if problems := idle_patterns(config, sorted(planned.base.tensors)):
        raise UserError(*problems)
    norms = delta_norm_ratios(planned)
    notes = [*planned.notes, *distant(planned.base_name, artifacts, norms)]
    notes += remarks(inputs[config.base], planned.members, norms)
    prepare(out_dir)
    facts = _made(config, inputs, planned, out_dir)
    notes += [f"what was made is {planned.base_name}, bit for bit"] if facts["changed"] == 0 else []
    told = zip(given, norms, strict=True)
    return {
        "method": config.method.kind,
        "engine": config.engine,
        "tensors": len(planned.base.tensors),
        **facts,
        "models": [
            {"name": one.artifact.name, "weight": one.weight, "delta_norm_ratio": norm}
            for one, norm in sorted(told, key=lambda pair: pair[0].place)
        ],
        "notes": notes,
        "seconds": round(time.monotonic() - started, 3),
    }


def _made(config: MergeConfig, inputs: Inputs, planned: Plan, out_dir: Path) -> dict[str, Any]:
    """Fill the folder; what there is to say about it."""
    facts: dict[str, Any] = {}
    write = partial(_write, config)
    if config.engine == "mergekit":
        return dict(_named(_MERGEKIT)(planned, config, out_dir))
    if config.method.kind in ADAPTER_METHODS:
        facts = _named(_ADAPTERS)(planned, config, out_dir, write)
    elif config.quantised:
        adapter, rows = inputs[config.models[0].use], inputs[config.quantised.rows]
        facts = _named(_QUANTISED)(planned, config.quantised, adapter.path, rows, out_dir, write)
    else:
        write(planned, out_dir)
    if config.output == "adapter":
        return {**facts, "changed": facts["modules"]}
    carry(planned.base_folder, out_dir, config.dtype)
    norm = merged_norm_ratio(planned, out_dir)
    return {**facts, "changed": changed_tensors(planned, out_dir), "delta_norm_ratio": norm}


def _write(config: MergeConfig, planned: Plan, out_dir: Path, method: Kind | None = None) -> None:
    """Merge by the method of the config, or another, and write the weights."""
    size = shard_bytes(config.shard_size)
    _named(_BURNISH)(planned, method or config.method, out_dir, config.threads, config.post, size, config.device)


def _named(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found
