"""What each level of llm-compressor is: its modifiers, what is left as it is, and the groups of its weights.

Scales are a number for each output of a weight (FP8, INT8) or for each group of columns (4 bits). Inputs are rounded
for each token at run time in FP8 and INT8, and not at all with 4 bits.
"""

import re
from pathlib import Path
from typing import Any

from pipelines.errors import few, wrong
from pipelines.hf.safetensors import tensor_map

UNQUANTISED = ("lm_head", r"re:.*\.gate$", r"re:.*\.router(\..*)?$", r"re:.*\.shared_expert_gate$")
"""The head decides between tokens and a router between experts: both lose most by rounding and weigh least."""
GROUPS = (128, 64, 32)
"""Group sizes that vLLM has kernels for, the smallest file first."""
FOUR_BITS = ("w4a16_gptq", "w4a16_awq")
SAYS = {
    "fp8": "FP8 (E4M3) weights, a scale for each output; inputs rounded to FP8 for each token",
    "int8": "INT8 weights by GPTQ, a scale for each output; inputs rounded to INT8 for each token",
    "w4a16_gptq": "4-bit weights by GPTQ, symmetric, a scale for each group of columns; inputs as they are",
    "w4a16_awq": "4-bit weights by AWQ, with zero points, a scale for each group of columns; inputs as they are",
}
_NOT_LINEAR = re.compile(r"(embed\w*|wte|wpe|lm_head|gate|router|shared_expert_gate|\w*norm\w*|ln_\w+)\.weight$")


def recipe(level: str, group: int | None) -> list[tuple[str, dict[str, Any]]]:
    """The modifiers of a level in their order, as (name, arguments); `group` is for 4 bits alone.

    INT8 is plain GPTQ, without SmoothQuant: that moves outliers of the inputs into the weights, for which it must know
    which norm comes before which weight, and that is written down for some architectures only.
    AWQ takes zero points, as its authors do (Lin et al. 2023, arXiv 2306.00978).
    """
    common = {"targets": ["Linear"], "ignore": list(UNQUANTISED)}
    if level == "fp8":
        return [("QuantizationModifier", {"scheme": "FP8_DYNAMIC", **common})]
    if level == "int8":
        return [("GPTQModifier", {"scheme": "W8A8", **common})]
    grouped = {"config_groups": {"group_0": _four_bits(group, level == "w4a16_gptq")}, "ignore": common["ignore"]}
    if level == "w4a16_gptq":
        return [("GPTQModifier", grouped)]
    return [("AWQModifier", {}), ("QuantizationModifier", grouped)]


def _four_bits(group: int | None, symmetric: bool) -> dict[str, Any]:
    weights = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": group, "symmetric": symmetric}
    return {"targets": ["Linear"], "weights": weights}


def group_size(folder: Path) -> int:
    """The largest group that divides the columns of every weight that is quantised. UserError where none does."""
    shapes = {name: place.info.shape for name, place in tensor_map(folder).items() if not _NOT_LINEAR.search(name)}
    # Experts in one tensor are [experts, outputs, columns] or the last two turned round, so that both count.
    columns = {
        name: shape[1:] for name, shape in shapes.items() if len(shape) == (2 if name.endswith(".weight") else 3)
    }
    for group in GROUPS:
        if all(extent % group == 0 for extents in columns.values() for extent in extents):
            return group
    odd = [
        f"{name} {list(shapes[name])}" for name, extents in columns.items() if any(at % GROUPS[-1] for at in extents)
    ]
    what = f"no group of {', '.join(map(str, GROUPS))} columns divides its weights"
    raise wrong("formats", what, few(odd), "Take fp8 or int8, whose scales are for whole rows")
