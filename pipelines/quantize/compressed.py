"""A level of compressed-tensors: made by llm-compressor, with the files of the export around the weights."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.errors import wrong
from pipelines.hf.folder import CARD, CONFIG, describe, read_json, write_json
from pipelines.hf.safetensors import INDEX
from pipelines.quantize.schemes import FOUR_BITS, group_size, recipe
from pipelines.serving.beside import SERVING
from pipelines.serving.environments import Environment
from pipelines.serving.scripts import ask

_OWN = (CONFIG, CARD, SERVING, INDEX)


class Facts(NamedTuple):
    """How many modules were quantised, the columns of the widest, and the group of 4-bit weights."""

    layers: int
    columns: int
    group: int | None


def quantize(
    environment: Environment, folder: Path, level: str, rows: Sequence[Sequence[int]], seed: int, out: Path
) -> Facts:
    """Write the folder of a level into `out` from an export's `folder`. `rows` of token ids, none for FP8.

    UserError where llm-compressor cannot do the model, or finds nothing to quantise in it.
    """
    group = group_size(folder) if level in FOUR_BITS else None
    dtype = shipped_dtype(folder)
    request = {"folder": str(folder), "out": str(out), "recipe": recipe(level, group), "dtype": dtype, "seed": seed}
    said = ask(environment, "llmcompressor.py", request | {"rows": [list(row) for row in rows]}, "parts of the model")
    if not said["layers"]:
        what = "llm-compressor finds nothing to quantise in this architecture"
        raise wrong("formats", what, describe(folder)["architecture"], "Take a GGUF level")
    dress(folder, out, dtype)
    return Facts(said["layers"], said["columns"], group)


def shipped_dtype(folder: Path) -> str:
    """The type of what is not quantised: kernels compute in half precision, so float32 is rounded to bfloat16."""
    return "float16" if describe(folder)["dtype"] == "float16" else "bfloat16"


def dress(folder: Path, out: Path, dtype: str) -> None:
    """Put the export's own files around the new weights, and into its config what is said of them."""
    write_json(out / CONFIG, merged(read_json(folder / CONFIG), read_json(out / CONFIG), dtype))
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.suffix != ".safetensors" and file.name not in _OWN:
            shutil.copyfile(file, out / file.name)
    for file in out.iterdir():
        file.chmod(0o644)


def merged(export: Mapping[str, Any], compressed: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """The export's config, in all its spellings, with the new type of its weights and how they are quantised."""
    common = {"dtype": dtype, "torch_dtype": dtype}
    told = {**export, **common, "quantization_config": compressed["quantization_config"]}
    if "text_config" in export:
        told["text_config"] = {**export["text_config"], **common}
    return dict(sorted(told.items()))
