"""LoRA adapters as exact task vectors: from a PEFT folder to one low-rank product a tensor.

Papers: Hu et al. 2021, "LoRA", arXiv 2106.09685: delta W = (alpha / r) B A; Kalajdzievski 2023, "rsLoRA", arXiv
2312.03732: delta W = (alpha / sqrt(r)) B A.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from pipelines.errors import Problem, UserError, wrong
from pipelines.hf.folder import read_json
from pipelines.hf.shards import Weights, open_file
from pipelines.merge.reads import Read

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
BLOCK = 1 << 16
"""Elements of a product computed at once. A constant: a product of other rows may be rounded differently."""

_KEY = re.compile(
    r"base_model\.model\.(?P<module>.+)\.lora_(?P<embedding>embedding_)?(?P<side>[AB])(?(embedding)|\.weight)"
)
_FLOATS = ("F32", "F16", "BF16")
_PLAIN_INITS = (True, False, None, "gaussian", "eva", "orthogonal")
_IGNORED = {
    "auto_mapping", "base_model_name_or_path", "ensure_weight_tying", "eva_config", "exclude_modules", "inference_mode",
    "init_lora_weights", "layers_pattern", "layers_to_transform", "loftq_config", "lora_dropout", "megatron_core",
    "peft_type", "peft_version", "qalora_group_size", "revision", "runtime_config", "target_modules", "task_type",
}  # fmt: skip
_READ = {"r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "fan_in_fan_out", "bias"}
_RETRAIN = "Train the adapter without it, or merge it with peft first and use the model"
_REFUSED = {
    "use_dora": "is a DoRA adapter, whose magnitudes are no low-rank product",
    "modules_to_save": "carries whole modules besides its low-rank matrices",
    "lora_bias": "has biases on B",
    "trainable_token_indices": "carries trained token rows",
    "target_parameters": "targets parameters rather than modules",
    "use_qalora": "is a QA-LoRA adapter, which pools its inputs",
    "layer_replication": "replicates layers",
    "alora_invocation_tokens": "is an activated LoRA, which is off until its tokens appear",
}


class Factors(NamedTuple):
    """delta W of one tensor as stored: scale * B A, transposed where the tensor is [in, out] or an embedding."""

    a: str
    b: str
    scale: float
    transposed: bool


class LowRank(NamedTuple):
    """scale * left @ right, with left [rows, r] and right [r, columns] in fp32."""

    left: torch.Tensor
    right: torch.Tensor
    scale: float

    @property
    def block(self) -> int:
        """Elements that `read` computes together: whole rows."""
        columns = self.right.shape[1]
        return max(1, BLOCK // columns) * columns

    def read(self, start: int, stop: int) -> torch.Tensor:
        """Elements [start, stop) of the flattened product: the same numbers however it is sliced."""
        first = start // self.block * self.block
        blocks = [self._block(at) for at in range(first, stop, self.block)]
        values = blocks[0] if len(blocks) == 1 else torch.cat(blocks)
        return values[start - first : stop - first]

    def _block(self, at: int) -> torch.Tensor:
        columns = self.right.shape[1]
        rows = slice(at // columns, (at + self.block) // columns)
        return torch.mm(self.left[rows], self.right).mul_(self.scale).view(-1)

    def square(self) -> float:
        """Sum of the squares of all elements, without computing them."""
        left, right = self.left.double(), self.right.double()
        return float(((left.T @ left) * (right @ right.T)).sum()) * self.scale**2


class Adapter(NamedTuple):
    """A checked adapter: `factors` by the name of the tensor that they change."""

    name: str
    key: str
    weights: Weights
    factors: Mapping[str, Factors]

    def low_rank(self, tensor: str) -> LowRank | None:
        """The task vector of a tensor, or None where the adapter leaves it alone."""
        found = self.factors.get(tensor)
        if found is None:
            return None
        a, b = (self._matrix(name) for name in (found.a, found.b))
        return (
            LowRank(a.T.contiguous(), b.T.contiguous(), found.scale) if found.transposed else LowRank(b, a, found.scale)
        )

    def touches(self, tensor: str) -> bool:
        return tensor in self.factors

    def product(self, tensor: str) -> Read:
        """The task vector, computed from the matrices and not by subtraction."""
        product = self.low_rank(tensor)
        return product.read if product else lambda start, stop: torch.zeros(stop - start)

    def values(self, tensor: str, base: Read) -> Read:
        """The adapted tensor: base + delta, rounded once."""
        product = self.low_rank(tensor)
        return (lambda start, stop: torch.add(base(start, stop), product.read(start, stop))) if product else base

    def _matrix(self, name: str) -> torch.Tensor:
        return self.weights.tensor(name).float().view(self.weights.info(name).shape)


def open_adapter(name: str, key: str, folder: Path, base: Weights, tied: frozenset[str]) -> Adapter:
    """Check an adapter against the tensors of its base. `tied` are those that embedding and output head share.

    UserError with every reason why it cannot be a sum of low-rank products on these tensors. No weights are read.
    """
    if not (folder / WEIGHTS).is_file():
        found = "adapter_model.bin" if (folder / "adapter_model.bin").is_file() else ""
        raise wrong(name, f"has no {WEIGHTS}", found, "Save the adapter with save_pretrained, which writes safetensors")
    settings = read_json(folder / CONFIG)
    problems = _config_problems(name, settings)
    weights = open_file(folder / WEIGHTS)
    modules, unknown = _modules(weights)
    if unknown:
        what = f"{len(unknown)} tensors of the adapter have no place in a LoRA"
        problems.append(Problem(name, what, ", ".join(unknown[:3]), _RETRAIN))
    if not modules and not problems:
        problems.append(Problem(name, "holds no LoRA matrices", "", "Save the adapter again"))
    factors: dict[str, Factors] = {}
    for module, sides in sorted(modules.items()):
        product = _factors(name, module, sides, settings, weights, base, tied)
        if isinstance(product, Problem):
            problems.append(product)
        else:
            factors[f"{module}.weight"] = product
    if problems:
        raise UserError(*problems)
    return Adapter(name, key, weights, factors)


def _config_problems(name: str, settings: Mapping[str, Any]) -> list[Problem]:
    """Settings under which the adapter is more, or something else, than scaled products B A."""
    if settings.get("peft_type") != "LORA":
        return [
            Problem(
                name, "is not a LoRA adapter", str(settings.get("peft_type")), "Merge it with peft and use the model"
            )
        ]
    found = [
        Problem(name, what, f"{key}: {settings[key]}", _RETRAIN) for key, what in _REFUSED.items() if settings.get(key)
    ]
    if settings.get("bias", "none") != "none":
        found.append(Problem(name, "trained biases too", f"bias: {settings['bias']}", _RETRAIN))
    if settings.get("init_lora_weights", True) not in _PLAIN_INITS:
        fix = "Convert it with path_initial_model_for_weight_conversion, or merge it with peft first and use the model"
        got = f"init_lora_weights: {settings['init_lora_weights']}"
        found.append(Problem(name, "was initialised in a way that changes the base weights", got, fix))
    for key in sorted(settings.keys() - _IGNORED - _READ - _REFUSED.keys()):
        if settings[key]:
            found.append(Problem(name, f"has a setting that is not known here: {key}", str(settings[key]), _RETRAIN))
    return found


def _modules(weights: Weights) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Names of the A and B matrices by module, embeddings marked by a third entry; and the names that are neither."""
    modules: dict[str, dict[str, str]] = {}
    unknown = []
    for name, place in sorted(weights.tensors.items()):
        match = _KEY.fullmatch(name)
        if match and place.info.dtype in _FLOATS and len(place.info.shape) == 2:
            sides = modules.setdefault(match["module"], {})
            sides[match["side"]] = name
            if match["embedding"]:
                sides["embedding"] = name
        else:
            unknown.append(name)
    return modules, unknown


def _factors(
    name: str,
    module: str,
    sides: Mapping[str, str],
    settings: Mapping[str, Any],
    weights: Weights,
    base: Weights,
    tied: frozenset[str],
) -> Factors | Problem:
    """Where the product of one module goes and how it is scaled, or why it cannot."""
    tensor = f"{module}.weight"
    if not {"A", "B"} <= sides.keys():
        return Problem(name, f"has only one of the two matrices of {module}", "", "Save the adapter again")
    if tensor in tied:
        what = f"adapts {module}, which embedding and output head share: merged, it would change both"
        return Problem(name, what, "", "Train without it in target_modules, or untie the base")
    if tensor not in base.tensors:
        return Problem(
            name, f"adapts {module}, which the base does not have", "", "Name the base that it was trained on"
        )
    a, b = (weights.info(sides[side]).shape for side in "AB")
    transposed = bool(settings.get("fan_in_fan_out")) or "embedding" in sides
    product = (a[1], b[0]) if transposed else (b[0], a[1])
    if a[0] != b[1] or product != base.info(tensor).shape:
        got = f"A {list(a)}, B {list(b)}, weight {list(base.info(tensor).shape)}"
        hint = (
            "Set fan_in_fan_out in its adapter_config.json as it was in training"
            if product[::-1] == base.info(tensor).shape
            else ""
        )
        return Problem(name, f"does not fit {tensor}", got, hint or "Name the base that it was trained on")
    rank = _pattern(settings.get("rank_pattern"), module, settings.get("r", 8))
    if rank != a[0]:
        return Problem(
            name, f"rank of {module} is not what adapter_config.json says", f"{a[0]}, not {rank}", "Save it again"
        )
    alpha = _pattern(settings.get("alpha_pattern"), module, settings.get("lora_alpha", 8))
    scale = alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank)
    return Factors(sides["A"], sides["B"], scale, transposed)


def _pattern(patterns: Mapping[str, float] | None, module: str, default: float) -> float:
    """The value of the first pattern (as in peft, a regular expression for the name or its end) that fits."""
    return next((value for key, value in (patterns or {}).items() if re.match(rf"(.*\.)?({key})$", module)), default)
