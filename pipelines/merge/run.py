"""The merge stage: from artifacts to a model folder."""

import importlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.engine.stage import Inputs
from pipelines.merge.carry import carry
from pipelines.merge.config import MergeConfig
from pipelines.merge.plan import plan
from pipelines.merge.summary import changed_tensors, delta_norm_ratios

_ENGINES = {
    "burnish": "pipelines.merge.stream:merge",
    "mergekit": "pipelines.merge.mergekit_engine:merge",
}


def run(config: MergeConfig, inputs: Inputs, out_dir: Path) -> dict[str, Any]:
    """Merge `config.models` on `config.base` into a model folder.

    The members are merged in the order of their keys, so the order in the recipe changes no byte, but for methods that
    tell a first model from a second.
    """
    started = time.monotonic()
    listed = [(inputs[member.use], member.weight) for member in config.models]
    order = list(range(len(listed)))
    if not config.method.ordered:
        order.sort(key=lambda index: (listed[index][0].key, str(listed[index][1])))
    members, weights = [listed[index][0] for index in order], [listed[index][1] for index in order]
    planned = plan(inputs[config.base], members, weights, config.dtype)
    _engine(config.engine)(planned, config.method, out_dir, config.threads)
    carry(planned.base_folder, out_dir, config.dtype)
    ratios = dict(zip(order, delta_norm_ratios(planned), strict=True))
    return {
        "method": config.method.kind,
        "engine": config.engine,
        "tensors": len(planned.base.tensors),
        "changed": changed_tensors(planned, out_dir),
        "models": [
            {"name": artifact.name, "weight": weight, "delta_norm_ratio": ratios[index]}
            for index, (artifact, weight) in enumerate(listed)
        ],
        "notes": list(planned.notes),
        "seconds": round(time.monotonic() - started, 3),
    }


def _engine(name: str) -> Callable[..., None]:
    module, _, function = _ENGINES[name].partition(":")
    engine: Callable[..., None] = getattr(importlib.import_module(module), function)
    return engine
