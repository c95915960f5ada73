"""The files beside the weights: they come from the base."""

import json
import shutil
from pathlib import Path
from typing import Any

from pipelines.hf.folder import CONFIG, GENERATION, companions, read_json


def carry(base: Path, out_dir: Path, dtype: str, config: bool = True) -> None:
    """Copy config, generation config, tokenizer, template and licence; a `dtype` but "keep" goes into the config.

    Without `config` the one that is there already stays as it is.
    """
    for path in [*([base / CONFIG] if config else []), base / GENERATION, *companions(base)]:
        if path.is_file():
            shutil.copyfile(path, out_dir / path.name)
            (out_dir / path.name).chmod(0o644)
    if config and dtype != "keep":
        settings = _with_dtype(read_json(base / CONFIG), dtype)
        (out_dir / CONFIG).write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _with_dtype(config: dict[str, Any], dtype: str) -> dict[str, Any]:
    """The config with its type under the names it has: torch_dtype of transformers 4, dtype of 5, also in parts."""
    named = {key: dtype for key in ("dtype", "torch_dtype") if key in config} or {"dtype": dtype}
    parts = {
        key: {inner: dtype if inner in ("dtype", "torch_dtype") else value for inner, value in part.items()}
        for key, part in config.items()
        if isinstance(part, dict)
    }
    return config | parts | named
