"""Rules on quantised folders: the tensors of every layer against what the config says was done to it.

A scale that is missing is not missed: vLLM then multiplies by memory that nobody wrote.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pipelines.hf.folder import CONFIG
from pipelines.hf.safetensors import Located
from pipelines.serving.findings import Finding
from pipelines.serving.lint import quantised_compressed, quantised_fp8, quantised_gptq
from pipelines.serving.lint.opened import mapping, opened
from pipelines.serving.lint.packed import packed
from pipelines.serving.lint.weights_files import stored

Rule = Callable[[Path, Mapping[str, Any], Mapping[str, Located]], list[Finding]]
_READ: dict[str, Rule] = {
    "compressed-tensors": quantised_compressed.rules,
    "fp8": quantised_fp8.rules,
    "gptq": quantised_gptq.rules,
    "awq": quantised_gptq.rules,
}
_REFUSED = ("bitsandbytes", "gguf", "hqq", "quanto", "eetq", "aqlm", "higgs", "vptq")


def rules(folder: Path) -> list[Finding]:
    """What is wrong with the quantised weights of a folder; nothing where they are not quantised."""
    config = opened(folder / CONFIG)
    stated = mapping(config.get("quantization_config")) or mapping(config.get("compression_config"))
    tensors = stored(folder).tensors if stated else {}
    if not packed(tensors):
        return []
    path, method = folder / CONFIG, str(stated.get("quant_method"))
    found = [*_cache(path, stated, tensors)]
    if method in _READ:
        return [*found, *_READ[method](path, stated, tensors)]
    return [*found, *(_unchecked(path, method) if method not in _REFUSED else [])]


def _unchecked(path: Path, method: str) -> Iterator[Finding]:
    what = "is quantised in a way whose tensors are not checked here"
    yield Finding("quantised-unchecked", "W", str(path), what, method, "Compare its answers with the 16-bit model's")


def _cache(path: Path, stated: Mapping[str, Any], tensors: Mapping[str, Located]) -> Iterator[Finding]:
    scheme = mapping(stated.get("kv_cache_scheme"))
    if not scheme:
        return
    if (scheme.get("num_bits"), scheme.get("type")) != (8, "float"):
        what = "has a kv_cache_scheme that vLLM refuses: it takes 8-bit floats alone"
        got = f"{scheme.get('num_bits')} bits, {scheme.get('type')}"
        yield Finding("kv-cache-scheme", "E", str(path), what, got, "Quantise again without kv_cache_scheme")
        return
    if scheme.get("dynamic"):
        return
    attentions = {name.rpartition(".k_proj.")[0] for name in tensors if ".k_proj." in name}
    scaled = {name.removesuffix(".k_scale") for name in tensors if name.endswith(".k_scale")}
    scaled &= {name.removesuffix(".v_scale") for name in tensors if name.endswith(".v_scale")}
    if bare := sorted(attentions - scaled):
        what = f"has a kv_cache_scheme and no k_scale and v_scale in {len(bare)} layers: vLLM takes 1.0"
        fix = "Quantise again with calibration rows, or without kv_cache_scheme"
        yield Finding("kv-cache-scales", "W", str(path), what, bare[0], fix)
