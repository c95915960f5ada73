"""What a merge will take, told from the headers of the weight files, before any weight is read."""

import os
from collections.abc import Iterable

from pipelines.engine.stage import Estimate, Inputs
from pipelines.hf.safetensors import BITS, tensor_map
from pipelines.merge.config import MergeConfig
from pipelines.merge.kinds import SPECTRAL
from pipelines.merge.schedule import layer_of

NANOSECONDS = {
    "linear": 4, "interpolate": 4, "checkpoint_average": 4, "task_arithmetic": 4, "slerp": 8, "nuslerp": 8,
    "model_stock": 8, "karcher": 8, "dare": 9, "dare_ties": 9, "ties": 10, "breadcrumbs": 12, "sce": 20, "della": 60,
    "iso_c": 200, "tsv_m": 400,
}  # fmt: skip
"""Of one core, for each element of the base, with two models (scripts/bench/merge.py); more models take more."""
MERGEKIT = 250
START, FIXED = 3.0, 300 << 20
"""Seconds of imports, and the private memory that does not depend on the model."""
MATRIX_COPIES = 8
"""Copies of a matrix in fp64 that a method holds that looks at whole matrices, for each thread."""
_TYPES = {"float32": 32, "bfloat16": 16, "float16": 16}


def estimate(config: MergeConfig, inputs: Inputs) -> Estimate:
    """Seconds, private memory and disk of a merge whose inputs are there."""
    tensors = tensor_map(inputs[config.base].path).items()
    elements = sum(place.info.elements for _, place in tensors)
    bits = sum(place.info.elements * _TYPES.get(config.dtype, BITS[place.info.dtype]) for _, place in tensors)
    cores = config.threads or os.cpu_count() or 1
    per_element = MERGEKIT * cores if config.engine == "mergekit" else NANOSECONDS.get(config.method.kind, 10)
    seconds = START + elements * per_element * (1 + len(config.models)) / 3 / cores / 1e9
    memory = FIXED
    if config.method.kind in SPECTRAL or config.post:
        memory += _largest(place.info.elements for name, place in tensors if layer_of(name) is not None) * cores
    return Estimate(seconds, memory, bits // 8)


def _largest(sizes: Iterable[int]) -> int:
    return 8 * MATRIX_COPIES * max(sizes, default=0)
