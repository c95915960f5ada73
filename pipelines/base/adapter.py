"""An adapter from elsewhere, as a folder of its own. What is in it is checked where it is merged."""

import shutil
from pathlib import Path
from typing import Any

from pipelines.errors import Problem, UserError
from pipelines.hf.folder import CARD, read_json
from pipelines.hf.safetensors import read_header

SETTINGS, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def adapter_problems(folder: Path) -> list[Problem]:
    """Why a folder is no adapter that can be read."""
    if not folder.is_dir():
        return [Problem(str(folder), "there is no such folder", "", "Name the folder that save_pretrained wrote")]
    if not (folder / SETTINGS).is_file():
        model = (folder / "config.json").is_file()
        fix = "Name a model with path:" if model else "Name the folder that save_pretrained wrote"
        return [Problem(str(folder), f"holds no adapter: {SETTINGS} is missing", "a model" if model else "", fix)]
    if not (folder / WEIGHTS).is_file():
        pickled = "adapter_model.bin" if (folder / "adapter_model.bin").is_file() else ""
        fix = "Save the adapter again with save_pretrained, which writes safetensors"
        return [Problem(str(folder), f"{WEIGHTS} is missing", pickled, fix)]
    try:
        read_json(folder / SETTINGS)
        read_header(folder / WEIGHTS)
    except UserError as error:
        return list(error.problems)
    return []


def copy_adapter(source: Path, out: Path) -> dict[str, Any]:
    """Copy what an adapter needs; what its settings say of it is returned."""
    for name in (SETTINGS, WEIGHTS, CARD):
        if (source / name).is_file():
            shutil.copyfile(source / name, out / name)
            (out / name).chmod(0o644)
    settings = read_json(out / SETTINGS)
    kept = ("base_model_name_or_path", "peft_type", "r", "lora_alpha", "use_rslora", "use_dora")
    return {"source": f"adapter {source.name}", **{key: settings[key] for key in kept if key in settings}, "notes": []}
