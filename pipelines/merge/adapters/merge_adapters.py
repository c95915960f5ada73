"""Adapters merged into an adapter, which is written as it is or baked into the base."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipelines.engine.progress import progress
from pipelines.hf.threads import one_thread_each
from pipelines.merge.adapters.methods import Module, adapters_of, merged_modules, touched
from pipelines.merge.adapters.open_adapter import open_adapter
from pipelines.merge.adapters.write_adapter import named_base, write_adapter
from pipelines.merge.config import MergeConfig
from pipelines.merge.kinds import Linear
from pipelines.merge.plan import Plan


def merge_adapters(plan: Plan, config: MergeConfig, out_dir: Path, bake: Callable[..., None]) -> dict[str, Any]:
    """Merge the members of `plan`, all adapters, and write an adapter or, by `bake(plan, folder, method)`, a model.

    Returns the number of modules, the largest rank and, where a rank was cut, the share of the squared Frobenius norm
    of the task vector that the cut took away, in all and in the module where it took most.
    """
    if config.output == "adapter":
        return _write(plan, config, out_dir, "float32" if config.dtype == "keep" else config.dtype)
    # A fixed name, so that nothing of a killed attempt is left beside the model.
    folder = out_dir / ".adapter"
    folder.mkdir(exist_ok=True)
    facts = _write(plan, config, folder, "float32")
    merged = open_adapter("the merged adapter", "", folder, plan.base, frozenset())
    merged.weights.map()
    bake(plan._replace(members=(merged,), weights=(1.0,)), out_dir, Linear(kind="linear"))
    shutil.rmtree(folder)
    return facts


def _write(plan: Plan, config: MergeConfig, folder: Path, dtype: str) -> dict[str, Any]:
    shares: list[tuple[float, str]] = []
    energy = discarded = 0.0
    wanted = touched(plan)

    def modules() -> Iterator[Module]:
        nonlocal energy, discarded
        for done, module in enumerate(merged_modules(plan, config.method), 1):
            energy, discarded = energy + module.energy, discarded + module.discarded
            shares.append((module.discarded / module.energy if module.energy else 0.0, module.tensor))
            progress(done, len(wanted), "modules")
            yield module

    base = named_base((adapter.base_named for adapter in adapters_of(plan)), plan.base_name)
    with one_thread_each():
        ranks = write_adapter(folder, modules(), wanted, plan.base.tensors, base, dtype)
    facts: dict[str, Any] = {"modules": len(ranks), "rank": max(ranks.values())}
    if config.method.kind == "cat":
        return facts
    most, where = max(shares)
    share = discarded / energy if energy else 0.0
    cut = {"share": _rounded(share), "most": _rounded(most), "where": where if most else ""}
    return {**facts, "discarded": cut}


def _rounded(share: float) -> float:
    return float(f"{share:.4g}")
