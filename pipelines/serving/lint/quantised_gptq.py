"""Rules on GPTQ and AWQ folders: packed matrices of whole numbers, their zero points and their scales.

GPTQ packs along the inputs, AWQ along the outputs; scales are [inputs / group, outputs] in both.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipelines.hf.safetensors import Located
from pipelines.serving.findings import Finding
from pipelines.serving.lint.opened import whole

_AGAIN = "Quantise the model again"


def rules(path: Path, stated: Mapping[str, Any], tensors: Mapping[str, Located]) -> list[Finding]:
    """Every packed matrix must have its scales and zero points, of the shapes that bits and groups ask for."""
    bits, group = (
        whole(stated.get("bits", stated.get("w_bit"))),
        whole(stated.get("group_size", stated.get("q_group_size"))),
    )
    if bits not in (2, 3, 4, 8) or group is None:
        what, got = (
            "names no bits or no group_size",
            f"bits {stated.get('bits')}, group_size {stated.get('group_size')}",
        )
        return [Finding("quantised-groups", "E", str(path), what, got, _AGAIN)]
    wrong: dict[str, list[str]] = {}
    for stem in sorted(name.removesuffix("qweight") for name in tensors if name.endswith(".qweight")):
        parts = {
            part: tensors[stem + part] for part in ("qweight", "qzeros", "scales", "g_idx") if stem + part in tensors
        }
        for rule, got in _checked(parts, bits, group, packs_outputs=stated.get("quant_method") == "awq"):
            wrong.setdefault(rule, []).append(f"{stem.removesuffix('.')}: {got}")
    kinds = (
        ("quantised-scale-missing", "lacks scales or zero points, which vLLM does not miss"),
        ("quantised-shape", "has tensors of other shapes than its config says"),
        ("quantised-group-size", "has inputs that its groups do not divide, which vLLM refuses"),
    )
    return [Finding(rule, "E", str(path), f"{what}: {len(wrong[rule])} layers", wrong[rule][0], _AGAIN)
            for rule, what in kinds if rule in wrong]  # fmt: skip


def _checked(parts: Mapping[str, Located], bits: int, group: int, packs_outputs: bool) -> Iterator[tuple[str, str]]:
    shape = parts["qweight"].info.shape
    if len(shape) != 2 or parts["qweight"].info.dtype != "I32":
        yield "quantised-shape", f"qweight {parts['qweight'].info.dtype} {list(shape)}"
        return
    inputs, outputs = (shape[0], shape[1] * 32 // bits) if packs_outputs else (shape[0] * 32 // bits, shape[1])
    for name in ("scales", "qzeros"):
        if name not in parts:
            yield "quantised-scale-missing", f"no {name}"
    size = inputs if group < 1 else group
    if inputs % size:
        yield "quantised-group-size", f"{inputs} inputs in groups of {size}"
        return
    wanted = {"scales": (inputs // size, outputs), "qzeros": (inputs // size, outputs * bits // 32), "g_idx": (inputs,)}
    for name, asked in wanted.items():
        if name in parts and parts[name].info.shape != asked:
            yield "quantised-shape", f"{name} {list(parts[name].info.shape)}, not {list(asked)}"
