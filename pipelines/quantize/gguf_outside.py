"""The two scripts of the environment `gguf`, and what is told where they say that something cannot be."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pipelines.errors import wrong
from pipelines.serving.environments import Environment
from pipelines.serving.scripts import ask

_UNKNOWN = {
    "converter": (
        "llama.cpp's converter fails on this model",
        "Leave GGUF out of the formats, and ship safetensors",
    ),
    "architecture": (
        "llama.cpp's converter does not know this architecture",
        "Leave GGUF out of the formats, and ship safetensors",
    ),
    "pre-tokenizer": (
        "llama.cpp has no name for what this tokenizer does before BPE",
        "Keep the base's tokenizer, or leave GGUF out of the formats",
    ),
    "values": ("weights cannot be written", "Train or merge it again, or export bfloat16: its weights overflow"),
}


def converted(environment: Environment, folder: Path, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What `gguf_convert.py` says of `folder`. UserError where the converter does not know what it needs."""
    request = {"folder": str(folder.absolute()), "threads": torch.get_num_threads(), **asked}
    told = ask(environment, "gguf_convert.py", request, "tensors")
    if "unknown" in told:
        what, fix = _UNKNOWN[told["unknown"]]
        raise wrong(str(folder), what, str(told["said"])[:200], fix)
    return told


def served(environment: Environment, file: Path, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What `gguf_look.py` says of a GGUF file. UserError where llama.cpp does not load it."""
    request = {"gguf": str(file.absolute()), "threads": torch.get_num_threads(), **asked}
    told = ask(environment, "gguf_look.py", request, "prompts")
    if "refused" in told:
        raise wrong(file.name, "llama.cpp does not load it", str(told["refused"])[:200], "Convert it again")
    return told
