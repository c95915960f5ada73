"""A model folder written as it is shipped: weights, configs for every reader, tokenizer, licence."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from transformers import AutoConfig

from pipelines.errors import wrong
from pipelines.export.dual import dual_config, dual_tokenizer_config
from pipelines.hf.folder import (
    CONFIG,
    GENERATION,
    LICENCE_FILES,
    TEMPLATE,
    TOKENIZER_CONFIG,
    chat_template,
    companions,
    positions,
    read_json,
    write_json,
)
from pipelines.hf.models import load_tokenizer
from pipelines.hf.rewrite import chunks, rewrite
from pipelines.hf.safetensors import Located, tensor_map
from pipelines.hf.stops import stopping

_HEAD = "lm_head.weight"
_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight")


def write_folder(model: Path, base: Path, out: Path, dtype: str, keep: bool, max_shard_size: int) -> tuple[str, ...]:
    """Write `model` into `out` with weights of `dtype`, or of their own types with `keep`.

    Returns the tensors that were left out because the model shares them with others. Licence files come from `base`
    where `model` has none.
    """
    tied = is_tied(model)
    left_out = shared_head(model) if tied else ()
    for file in companions(model):
        shutil.copyfile(file, out / file.name)
    if not any(LICENCE_FILES.match(file.name) for file in companions(model)):
        for file in companions(base):
            if LICENCE_FILES.match(file.name):
                shutil.copyfile(file, out / file.name)
    with ThreadPoolExecutor(1) as beside:
        # Reading a large tokenizer takes a second, in which half a gigabyte is written.
        configs = beside.submit(_write_configs, model, out, dtype, tied)
        rewrite(model, out, "keep" if keep else dtype, max_shard_size, left_out)
        configs.result()
    for file in out.iterdir():
        file.chmod(0o644)
    return left_out


def _write_configs(model: Path, out: Path, dtype: str, tied: bool) -> None:
    config, template = read_json(model / CONFIG), chat_template(model)
    generation = read_json(model / GENERATION) if (model / GENERATION).is_file() else {}
    settings = dual_tokenizer_config(read_json(model / TOKENIZER_CONFIG), template, positions(config))
    write_json(out / CONFIG, dual_config(config, dtype, tied))
    write_json(out / GENERATION, stopping(generation, load_tokenizer(model)))
    write_json(out / TOKENIZER_CONFIG, settings)
    if template is not None:
        (out / TEMPLATE).write_bytes(template.encode())


def is_tied(folder: Path) -> bool:
    """Whether the head is the embedding. The config's class knows, where the file leaves it to the default."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return bool(config.get_text_config().tie_word_embeddings)


def shared_head(folder: Path) -> tuple[str, ...]:
    """The head, where a tied model stores it a second time. UserError where it differs: engines ignore it."""
    tensors = tensor_map(folder)
    if _HEAD not in tensors:
        return ()
    embedding = next((place for name, place in tensors.items() if name.endswith(_EMBEDDINGS)), None)
    if embedding is None or not _same(tensors[_HEAD], embedding):
        fix = f'Set "tie_word_embeddings": false in {CONFIG}, or remove {_HEAD}'
        raise wrong(str(folder), f"is tied by its config, but {_HEAD} differs from the embedding", "", fix)
    return (_HEAD,)


def _same(one: Located, other: Located) -> bool:
    if one.info.shape != other.info.shape or one.info.dtype != other.info.dtype:
        return False
    return all(bool((left == right).all()) for left, right in zip(chunks(one), chunks(other), strict=True))
