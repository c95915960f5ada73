"""From a PEFT folder to a checked adapter: which tensors of the base it changes, and how."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from pipelines.errors import Problem, UserError, wrong
from pipelines.hf.folder import read_json
from pipelines.hf.shards import Weights, open_file
from pipelines.merge.adapters.adapter import Adapter, Factors
from pipelines.merge.adapters.settings import RETRAIN, Settings, config_problems, is_saved, rank_of, scale_of
from pipelines.merge.tied import is_embedding_or_head

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."

_KEY = re.compile(
    r"base_model\.model\.(?P<module>.+)\.lora_"
    r"(?:(?P<embedding>embedding_)?(?P<side>[AB])(?(embedding)|\.weight)|(?P<lengths>magnitude_vector)(?:\.weight)?)"
)
_FLOATS = ("F32", "F16", "BF16")
_MODULES = 2
"""Modules of which all is told that is wrong."""


def open_adapter(name: str, key: str, folder: Path, base: Weights, tied: frozenset[str]) -> Adapter:
    """Check an adapter against the tensors of its base. `tied` are those that embedding and output head share.

    UserError with every reason why no fixed weights compute what it does. No weights are read.
    """
    if not (folder / WEIGHTS).is_file():
        found = "adapter_model.bin" if (folder / "adapter_model.bin").is_file() else ""
        raise wrong(name, f"has no {WEIGHTS}", found, "Save the adapter with save_pretrained, which writes safetensors")
    settings = read_json(folder / CONFIG)
    weights = open_file(folder / WEIGHTS)
    check = _Check(name, settings, weights, base, tied)
    problems = config_problems(name, settings)
    modules, others = _modules(weights)
    whole = {check.tensor_of(other): other for other in others}
    if unknown := [other for tensor, other in whole.items() if not check.may_replace(tensor)]:
        what = f"{len(unknown)} tensors of the adapter have no place in a LoRA"
        problems.append(Problem(name, what, ", ".join(unknown[:3]), RETRAIN))
    if not weights.tensors:
        problems.append(Problem(name, "holds no LoRA matrices", "", "Save the adapter again"))
    problems += check.whole_problems(whole) + check.missing(whole, modules)
    factors = {f"{module}.weight": check.factors(module, parts) for module, parts in sorted(modules.items())}
    problems += _shortened(name, [found for found in factors.values() if isinstance(found, Problem)])
    if problems:
        raise UserError(*problems)
    sound = {tensor: found for tensor, found in factors.items() if isinstance(found, Factors)}
    return Adapter(name, key, weights, sound, whole, str(settings.get("base_model_name_or_path") or ""))


def _shortened(name: str, problems: list[Problem]) -> list[Problem]:
    """The first few modules stand for all: an adapter of another base fits none of some hundred."""
    left = len(problems) - _MODULES
    more = [Problem(name, f"{left} more of its modules cannot be used either")] if left > 0 else []
    return problems[:_MODULES] + more


def _modules(weights: Weights) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Names of the parts of each product by module: A, B, lengths, embedding; and the names that are none of them."""
    modules: dict[str, dict[str, str]] = {}
    others = []
    for name, place in sorted(weights.tensors.items()):
        match = _KEY.fullmatch(name)
        if match and place.info.dtype in _FLOATS and len(place.info.shape) == (1 if match["lengths"] else 2):
            parts = modules.setdefault(match["module"], {})
            parts[match["side"] or "lengths"] = name
            if match["embedding"]:
                parts["embedding"] = name
        else:
            others.append(name)
    return modules, others


class _Check(NamedTuple):
    """An adapter beside the base that it is to change."""

    name: str
    settings: Settings
    weights: Weights
    base: Weights
    tied: frozenset[str]

    def tensor_of(self, name: str) -> str:
        """The tensor of the base that one in the adapter's file stands for."""
        return name.removeprefix(PREFIX).replace(".base_layer.", ".")

    def may_replace(self, tensor: str) -> bool:
        """Whether the adapter may hold a tensor of the base: of a saved module, a trained bias, an embedding."""
        if is_embedding_or_head(tensor):
            return tensor in self.base.tensors or bool(self.tied)
        module, _, kind = tensor.rpartition(".")
        trained = kind == "bias" and self.settings.get("bias", "none") != "none"
        return tensor in self.base.tensors and (trained or is_saved(self.settings, module))

    def whole_problems(self, whole: Mapping[str, str]) -> list[Problem]:
        """What is wrong with the whole tensors; those that have no place are left out."""
        found = []
        for tensor, other in whole.items():
            if not self.may_replace(tensor):
                continue
            if tensor in self.tied or tensor not in self.base.tensors:
                what = f"holds a {tensor} of its own, which embedding and output head share in the base"
                found.append(Problem(self.name, what, "", "Train without it, or untie the base"))
                continue
            own, theirs = self.weights.info(other), self.base.info(tensor)
            if own.shape != theirs.shape or own.dtype not in _FLOATS:
                got = f"{own.dtype} {list(own.shape)}, the base's is {theirs.dtype} {list(theirs.shape)}"
                found.append(Problem(self.name, f"does not fit {tensor}", got, "Name the base that it was trained on"))
        return found

    def missing(self, whole: Mapping[str, str], modules: Iterable[str]) -> list[Problem]:
        """Tensors that were trained as a whole, as the settings say, and are not in the file."""
        bias = self.settings.get("bias", "none")
        biased = {f"{module}.bias" for module in modules} if bias == "lora_only" else self.base.tensors
        wanted = [
            tensor
            for tensor in sorted(self.base.tensors)
            if is_saved(self.settings, tensor.rpartition(".")[0])
            or (bias != "none" and tensor.endswith(".bias") and tensor in biased)
        ]
        lost = [tensor for tensor in wanted if tensor not in whole]
        what = f"lacks {len(lost)} {'tensors that were' if len(lost) > 1 else 'tensor that was'} trained as a whole"
        return [Problem(self.name, what, ", ".join(lost[:3]), "Save the adapter again")] if lost else []

    def factors(self, module: str, parts: Mapping[str, str]) -> Factors | Problem:
        """Where the product of one module goes and how it is scaled, or why it cannot."""
        tensor = f"{module}.weight"
        if not {"A", "B"} <= parts.keys():
            return Problem(self.name, f"has only one of the two matrices of {module}", "", "Save the adapter again")
        if tensor in self.tied:
            what = f"adapts {module}, which embedding and output head share: merged, it would change both"
            return Problem(self.name, what, "", "Train without it in target_modules, or untie the base")
        if tensor not in self.base.tensors:
            what = f"adapts {module}, which the base does not have"
            return Problem(self.name, what, "", "Name the base that it was trained on")
        transposed = bool(self.settings.get("fan_in_fan_out")) or "embedding" in parts
        a, b = (self.weights.info(parts[side]).shape for side in "AB")
        lengths = parts.get("lengths", "")
        if problem := self._fit(tensor, a, b, transposed) or self._scaling(module, a[0], b[0], lengths):
            return problem
        return Factors(
            parts["A"], parts["B"], scale_of(self.settings, module), transposed, "embedding" in parts, lengths
        )

    def _fit(self, tensor: str, a: tuple[int, ...], b: tuple[int, ...], transposed: bool) -> Problem | None:
        product, shape = ((a[1], b[0]) if transposed else (b[0], a[1])), self.base.info(tensor).shape
        if a[0] == b[1] and product == shape:
            return None
        turned = product[::-1] == shape
        fix = "Set fan_in_fan_out in its adapter_config.json as it was in training" if turned else ""
        got = f"A {list(a)}, B {list(b)}, weight {list(shape)}"
        return Problem(self.name, f"does not fit {tensor}", got, fix or "Name the base that it was trained on")

    def _scaling(self, module: str, rank: int, outputs: int, lengths: str) -> Problem | None:
        """Whether rank and DoRA magnitudes are what the settings say."""
        wanted = rank_of(self.settings, module)
        if rank != wanted:
            what = f"rank of {module} is not what adapter_config.json says"
            return Problem(self.name, what, f"{rank}, not {wanted}", "Save it again")
        if bool(self.settings.get("use_dora")) != bool(lengths):
            what = f"has {'' if lengths else 'no '}DoRA magnitudes for {module}, unlike adapter_config.json says"
            return Problem(self.name, what, f"use_dora: {not lengths}", "Save the adapter again")
        if lengths and self.weights.info(lengths).shape != (outputs,):
            got = str(list(self.weights.info(lengths).shape))
            return Problem(self.name, f"DoRA magnitudes of {module} are not one an output", got, "Save it again")
        return None
