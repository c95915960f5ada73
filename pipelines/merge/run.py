"""The merge stage: from artifacts to a model folder or an adapter folder."""

import importlib
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.engine.stage import Inputs
from pipelines.merge.carry import carry
from pipelines.merge.checkpoint_average import taken
from pipelines.merge.config import ADAPTER_METHODS, MergeConfig, shard_bytes
from pipelines.merge.descent import distant
from pipelines.merge.journal import prepare
from pipelines.merge.kinds import Kind
from pipelines.merge.plan import Plan, plan
from pipelines.merge.summary import changed_tensors, delta_norm_ratios

_BURNISH = "pipelines.merge.stream:merge"
_MERGEKIT = "pipelines.merge.mergekit.engine:merge"
_ADAPTERS = "pipelines.merge.adapters.merge_adapters:merge_adapters"
_QUANTISED = "pipelines.merge.adapters.quantised:bake_quantised"


def run(config: MergeConfig, inputs: Inputs, out_dir: Path) -> dict[str, Any]:
    """Merge `config.models` on `config.base` into a model folder, or an adapter folder where `output` says so.

    The members are merged in the order of their keys, so the order in the recipe changes no byte, but for methods that
    tell a first model from a second.
    """
    started = time.monotonic()
    listed = [(one, each.weight) for each in config.models for one in taken(inputs[each.use], config.method)]
    order = list(range(len(listed)))
    if not config.method.ordered:
        order.sort(key=lambda index: (listed[index][0].key, str(listed[index][1])))
    members, weights = [listed[index][0] for index in order], [listed[index][1] for index in order]
    planned = plan(inputs[config.base], members, weights, config.dtype)
    norms = delta_norm_ratios(planned)
    notes = [*planned.notes, *distant(planned.base_name, members, norms)]
    prepare(out_dir)
    facts = _made(config, inputs, planned, out_dir)
    ratios = dict(zip(order, norms, strict=True))
    return {
        "method": config.method.kind,
        "engine": config.engine,
        "tensors": len(planned.base.tensors),
        **facts,
        "models": [
            {"name": artifact.name, "weight": weight, "delta_norm_ratio": ratios[index]}
            for index, (artifact, weight) in enumerate(listed)
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
    return {**facts, "changed": changed_tensors(planned, out_dir)}


def _write(config: MergeConfig, planned: Plan, out_dir: Path, method: Kind | None = None) -> None:
    """Merge by the method of the config, or another, and write the weights."""
    size = shard_bytes(config.shard_size)
    _named(_BURNISH)(planned, method or config.method, out_dir, config.threads, config.post, size, config.device)


def _named(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found
