"""Rules on the names and shapes in an adapter's weights: each must fit a module of the base, in a pair of A and B."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.errors import few
from pipelines.hf.safetensors import TensorInfo
from pipelines.serving.findings import Finding, Severity
from pipelines.serving.lint.adapter_base import Base
from pipelines.serving.lint.opened import listing, mapping, number, whole

PREFIX = "base_model.model."
_KEY = re.compile(r"(?P<module>.+)\.lora_(?P<embedding>embedding_)?(?P<side>[AB])(?:\.weight)?$")
_COPY = re.compile(r"(?P<module>.+(?:embed_tokens|lm_head))\.base_layer\.weight$")
_NAMED = re.compile(r"\.lora_(?:embedding_)?[AB]\.(?!weight$)\w+(?:\.weight)?$")
_EXPERTS = re.compile(r"\.experts(?:\.base_layer)?$")
_LAYER = re.compile(r"\.layers\.(\d+)\.")
_MERGE = "Merge it into its base and serve the merged model"
_RENAME = "Save it with PEFT on the model that is served, or rename its tensors to the module names of that model"


class Pair(NamedTuple):
    """The tensors of one module, by their names in the file: A is [rank, in] and B [out, rank]."""

    a: str | None
    b: str | None
    embedding: bool


def pairs(names: Mapping[str, Any]) -> dict[str, Pair]:
    """A and B by module, the prefix of PEFT left out."""
    found: dict[str, Pair] = {}
    for name in sorted(names):
        if match := _KEY.match(name):
            module = match["module"].removeprefix(PREFIX)
            known = found.get(module, Pair(None, None, bool(match["embedding"])))
            found[module] = known._replace(a=name) if match["side"] == "A" else known._replace(b=name)
    return found


def rules(path: Path, settings: dict[str, Any], tensors: Mapping[str, TensorInfo], base: Base | None) -> list[Finding]:
    """Names that vLLM refuses, or worse takes and never applies. `path` is the file of the weights."""
    modules = pairs(tensors)
    found = [*_names(path, tensors, base), *_halves(path, modules), *_targets(path, settings, modules)]
    found += _ranks(path, settings, tensors, modules)
    if base is None:
        what = "names and shapes are not compared with a base, which is not at hand"
        return [*found, Finding("adapter-base-unknown", "W", str(path), what, "", "Name the folder of its base")]
    found += [*_lost(path, modules, base), *_experts(path, modules, base)]
    return [*found, *_shapes(path, tensors, modules, base)]


def _names(path: Path, tensors: Mapping[str, TensorInfo], base: Base | None) -> Iterator[Finding]:
    named = [name for name in tensors if _NAMED.search(name)]
    if named:
        what = f"names the adapter inside its tensors, which vLLM refuses and PEFT leaves out: {len(named)}"
        fix = "Save it with save_pretrained of PEFT, or take the adapter's name from the tensors' names"
        yield Finding("adapter-odd-tensors", "E", str(path), what, few(sorted(named)), fix)
    odd = [name for name in tensors if not _KEY.match(name) and not _COPY.match(name) and name not in named]
    if odd:
        what = f"holds tensors that are no part of a LoRA, which vLLM refuses: {len(odd)}"
        yield Finding("adapter-odd-tensors", "E", str(path), what, few(sorted(odd)), _MERGE)
    for name, info in tensors.items():
        copy = _COPY.match(name)
        shape = base.shapes.get(copy["module"].removeprefix(PREFIX)) if copy and base else None
        if shape is not None and shape != info.shape:
            what = "holds a resized embedding, of which vLLM keeps the base's: added tokens are lost"
            got = f"{list(info.shape)}, base {list(shape)}"
            yield Finding("adapter-resized", "E", str(path), what, got, _MERGE)
    bare = [name for name in tensors if not name.startswith(PREFIX)]
    if bare:
        what = f"names tensors without {PREFIX}: vLLM may take them, PEFT leaves them out"
        yield Finding("adapter-bare-names", "W", str(path), what, few(sorted(bare)), _RENAME)


def _halves(path: Path, modules: Mapping[str, Pair]) -> Iterator[Finding]:
    for side, other in (("a", "b"), ("b", "a")):
        alone = [name for name, pair in modules.items() if getattr(pair, other) is None]
        if alone:
            what = f"has a lora_{side.upper()} without its lora_{other.upper()}: {len(alone)} modules"
            fix = "The file is incomplete: save or download the adapter again"
            yield Finding("adapter-unpaired", "E", str(path), what, few(alone), fix)


def _targets(path: Path, settings: dict[str, Any], modules: Mapping[str, Pair]) -> Iterator[Finding]:
    targets = settings.get("target_modules")
    unused = [str(target) for target in listing(targets) if not any(_is(name, str(target)) for name in modules)]
    if unused:
        what = "names target_modules that it holds no weights for: they are as in the base"
        yield Finding("adapter-unused-targets", "W", str(path), what, few(unused), "Check that nothing was left out")


def _is(module: str, target: str) -> bool:
    return module == target or module.endswith(f".{target}")


def _ranks(
    path: Path, settings: dict[str, Any], tensors: Mapping[str, TensorInfo], modules: Mapping[str, Pair]
) -> Iterator[Finding]:
    odd = []
    for module, pair in modules.items():
        a, b = (tensors[name].shape if name else None for name in (pair.a, pair.b))
        ranks = {shape[at] for shape, at in ((a, 0), (b, -1)) if shape}
        wanted = rank_of(settings, module)
        if len(ranks) > 1 or (wanted is not None and ranks and ranks != {wanted}):
            odd.append(f"{module}: {' and '.join(map(str, sorted(ranks)))}, config {wanted}")
    if odd:
        what = f"has other ranks than its config says, so that it is scaled wrongly or refused: {len(odd)} modules"
        fix = "Write r, rank_pattern and lora_alpha as they were in training"
        yield Finding("adapter-rank-differs", "E", str(path), what, odd[0], fix)


def rank_of(settings: dict[str, Any], module: str) -> int | None:
    """The rank that the settings give a module: of the first pattern that fits its name, as PEFT looks it up."""
    if ".experts" in module:
        return None  # one product for every expert at once, by parameter names
    for key, value in mapping(settings.get("rank_pattern")).items():
        if _fits(key, module) and number(value) is not None:
            return whole(value)
    return whole(settings.get("r"))


def _fits(key: str, module: str) -> bool:
    try:
        return re.match(rf"(.*\.)?({key})$", module) is not None
    except re.error:
        return key == module


def _lost(path: Path, modules: Mapping[str, Pair], base: Base) -> Iterator[Finding]:
    lost = [name for name in modules if not _has(base, name)]
    if not lost:
        return
    layers = [name for name in lost if (layer := _LAYER.search(f".{name}")) and _beyond(int(layer[1]), base)]
    moved = [name for name in lost if name not in layers and _elsewhere(base, name)]
    other = [name for name in lost if name not in layers and name not in moved]
    # The modules of a wrapped model are renamed when it is loaded: a name that ends alike may well be right.
    unsure: Severity = "W" if base.wrapped else "E"
    silent = "vLLM answers as if there were no adapter"
    kinds: tuple[tuple[str, Severity, list[str], str], ...] = (
        ("adapter-no-such-layer", "E", layers, f"has weights for layers that the base has not: {silent} there"),
        ("adapter-wrong-prefix", unsure, moved, f"names modules of the base with another prefix: {silent}"),
        ("adapter-no-such-module", "E", other, f"names modules that the base has not: {silent}, or refuses it"),
    )
    for rule, severity, names, what in kinds:
        if names:
            yield Finding(rule, severity, str(path), f"{what}: {len(names)}", few(names), _RENAME)


def _experts(path: Path, modules: Mapping[str, Pair], base: Base) -> Iterator[Finding]:
    fused = [name for name in modules if _EXPERTS.search(name)]
    if fused and not base.fused_experts:
        what = "has one product for all experts of a layer, which vLLM refuses for this architecture"
        fix = "Merge it, or serve it with --enable-mixed-moe-lora-format and is_3d_lora_weight in the request"
        yield Finding("adapter-fused-experts", "E", str(path), what, few(fused), fix)


def _has(base: Base, module: str) -> bool:
    if _EXPERTS.search(module):
        return any(name.startswith(f"{_EXPERTS.split(module)[0]}.experts.") for name in base.parts)
    return module in base.shapes or (base.wrapped and any(name in base.shapes for name in _stored_as(module)))


def _stored_as(module: str) -> tuple[str, ...]:
    """Names under which the files of a wrapped model may hold what transformers 5 calls model.language_model."""
    rest = module.removeprefix("model.language_model.")
    return (f"language_model.model.{rest}", f"model.{rest}") if rest != module else (f"language_model.{module}",)


def _beyond(layer: int, base: Base) -> bool:
    return base.layers is not None and layer >= base.layers


def _elsewhere(base: Base, module: str) -> bool:
    """Whether the base has a module whose name ends as this one's does, from its layer on."""
    tail = re.sub(r"^.*?(?=layers\.\d+\.)", "", module) if "layers." in module else module.rpartition(".")[2]
    return any(name == tail or name.endswith(f".{tail}") for name in base.shapes)


def _shapes(
    path: Path, tensors: Mapping[str, TensorInfo], modules: Mapping[str, Pair], base: Base
) -> Iterator[Finding]:
    odd = []
    for module, pair in modules.items():
        shape = base.shapes.get(module)
        if shape is None or pair.a is None or pair.b is None:
            continue
        a, b = tensors[pair.a].shape, tensors[pair.b].shape
        fits = {shape, shape[::-1]} if pair.embedding else {shape}
        if len(a) != 2 or len(b) != 2 or (b[0], a[1]) not in (fits | _turned(base, shape)):
            odd.append(f"{module}: A {list(a)}, B {list(b)}, base {list(shape)}")
    if odd:
        what = f"has shapes that do not fit the base: {len(odd)} modules"
        yield Finding("adapter-shape", "E", str(path), what, odd[0], "Use the base that the adapter was trained on")


def _turned(base: Base, shape: tuple[int, ...]) -> set[tuple[int, ...]]:
    """GPT-2 and its kin store the weights of their layers as [in, out]."""
    return {shape[::-1]} if base.config.get("model_type") in ("gpt2", "openai-gpt", "imagegpt") else set()
