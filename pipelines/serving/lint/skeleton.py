"""The tensors that a config asks for, from the model that transformers builds of it with no memory for weights.

Files name tensors as the modules of transformers do, or as save_pretrained writes them (experts one by one where the
module holds them fused). What neither explains, transformers itself is asked to load, as shapes alone.
"""

import re
from collections.abc import Mapping, Set
from typing import Any, NamedTuple

import torch
import transformers
from transformers import CONFIG_MAPPING, PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import convert_and_load_state_dict_in_model, revert_weight_conversion
from transformers.initialization import meta_device_safe_creation_ops, no_init_weights
from transformers.modeling_utils import LoadStateDictConfig, LoadStateDictInfo
from transformers.models.auto import modeling_auto
from transformers.utils import logging as reports

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

CAUSAL = frozenset(str(name) for name in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())
WRAPPED = frozenset(
    str(name)
    for names in (
        modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES, modeling_auto.MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES,
    )
    for name in names.values()
)  # fmt: skip
"""Models of several kinds of input with a language model inside."""

_NAMED = (
    modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    modeling_auto.MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES,
)  # fmt: skip

MOST_PARTS = 2_000
_COUNTS = re.compile(r"(num|n)_(\w+_)?(layers?|experts)|depth")


class Difference(NamedTuple):
    """How files differ from what is asked: names that lack or are too many; name, shape found and shape asked."""

    missing: list[str]
    extra: list[str]
    shapes: list[tuple[str, Shape, Shape]]
    renamed: bool = False
    """Whether only transformers' renaming explains the names: other engines do not know it."""

    @property
    def size(self) -> int:
        return len(self.missing) + len(self.extra) + len(self.shapes)


def knows(model_type: object) -> bool:
    """Whether the installed transformers has this type of model."""
    return isinstance(model_type, str) and model_type in CONFIG_MAPPING


def types_of(name: str) -> set[str]:
    """The types of model that transformers makes of that class; empty where it does not know the class."""
    return {kind for named in _NAMED for kind, made in named.items() if made == name}


def of_sane_size(config: Mapping[str, Any]) -> bool:
    """Whether a model of it has so many parts that they can be made in seconds: layers, experts, of any name."""
    parts = [config, *(value for value in config.values() if isinstance(value, dict))]
    counts = [part.get(name) for part in parts for name in part if _COUNTS.fullmatch(name)]
    return all(not isinstance(count, int) or 0 <= count <= MOST_PARTS for count in counts)


def class_name(config: Mapping[str, Any]) -> str | None:
    """The class that the weights belong to: what the config names, else the causal language model of its type."""
    named = config.get("architectures")
    first = named[0] if isinstance(named, list) and named else None
    if isinstance(first, str) and first in CAUSAL | WRAPPED:
        return first
    name = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config["model_type"])
    return name if isinstance(name, str) else None


def build(config: Mapping[str, Any], name: str) -> PreTrainedModel:
    """A model of that class on the meta device. Raises whatever its config makes transformers raise."""
    plain = {key: value for key, value in config.items() if key not in ("quantization_config", "auto_map")}
    settings = CONFIG_MAPPING[config["model_type"]].from_dict(plain)
    settings._attn_implementation = "eager"
    with torch.device("meta"), no_init_weights(), meta_device_safe_creation_ops():
        return getattr(transformers, name)(settings)


def ties(model: PreTrainedModel) -> dict[str, str]:
    """What each tied tensor is tied to, in both spellings; empty where the config ties nothing."""
    state, tied = model.state_dict(), model.all_tied_weights_keys
    saved = {_saved_name(model, state, name): _saved_name(model, state, source) for name, source in tied.items()}
    return {**tied, **saved}


def absent(model: PreTrainedModel, names: Set[str]) -> list[str]:
    """Tensors of the model that are not among the names, in the spelling that is nearest to theirs."""
    state = model.state_dict()
    files: dict[str, Shape] = dict.fromkeys(names, ())
    both = (
        _compare(model, dict.fromkeys(asked, ()), files) for asked in (state, revert_weight_conversion(model, state))
    )
    return min((found.missing for found in both), key=len)


def _saved_name(model: PreTrainedModel, state: Mapping[str, torch.Tensor], name: str) -> str:
    return str(next(iter(revert_weight_conversion(model, {name: state[name]}))))


def difference(model: PreTrainedModel, files: Shapes) -> Difference:
    """How files differ from the model, in the spelling that is nearest to theirs. The model is of no use afterwards."""
    state = model.state_dict()
    asked = {name: tuple(tensor.shape) for name, tensor in state.items()}
    found = _compare(model, asked, files)
    if not found.size:
        return found
    saved = revert_weight_conversion(model, state)
    found = min(found, _compare(model, {name: tuple(t.shape) for name, t in saved.items()}, files), key=_size)
    if not found.size:
        return found
    loaded = _load(model, files)
    return loaded if not loaded.size or found.size > 2 * loaded.size else found


def _size(found: Difference) -> int:
    return found.size


def _compare(model: PreTrainedModel, asked: Shapes, files: Shapes) -> Difference:
    tied = ties(model)
    missing = {name for name in asked if name not in files and tied.get(name) not in files}
    extra = {name for name in files if name not in asked}
    shapes = {(name, files[name], shape) for name, shape in asked.items() if files.get(name, shape) != shape}
    return _allowed(model, LoadStateDictInfo(missing, extra, shapes, [], {}, skipped_pp_keys=set()))


def _load(model: PreTrainedModel, files: Shapes) -> Difference:
    """What transformers would report, were it given tensors of these shapes."""
    meta = torch.device("meta")
    state = {name: torch.empty(shape, device=meta) for name, shape in files.items()}
    mapping = get_model_conversion_mapping(model)
    wanted = LoadStateDictConfig(device_map={"": meta}, weight_mapping=mapping, dtype=torch.float32)
    tied: dict[str, str] = dict(model.all_tied_weights_keys)
    reports.disable_progress_bar()
    report, _ = convert_and_load_state_dict_in_model(model, state, wanted)
    report.missing_keys = {name for name in report.missing_keys if tied.get(name, name) in report.missing_keys}
    return _allowed(model, report)._replace(renamed=True)


def _allowed(model: PreTrainedModel, report: LoadStateDictInfo) -> Difference:
    """The report less what the model's class says may be absent or left over."""
    model._adjust_missing_and_unexpected_keys(report)
    shapes = [(name, tuple(found), tuple(asked)) for name, found, asked in report.mismatched_keys]
    return Difference(sorted(report.missing_keys), sorted(report.unexpected_keys), sorted(shapes))
