"""Rules on compressed-tensors folders, as llm-compressor writes them and vLLM 0.32 reads them."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.errors import few
from pipelines.hf.safetensors import Located
from pipelines.serving.findings import Finding
from pipelines.serving.lint.opened import listing, mapping, whole

_AGAIN = "Quantise the model again"
_FLOATS = ("BF16", "F16", "F32")
_FUSED = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
# Routers and embeddings are matrices too, but no layers that the class name Linear stands for.
_NO_LINEAR = ("gate", "router", "shared_expert_gate", "embed_tokens", "wte", "wpe", "embed_in", "word_embeddings")
_PLAIN_TYPES = {("int", 8): "I8", ("float", 8): "F8_E4M3"}
_FORMATS = ("pack-quantized", "float-quantized", "int-quantized", "naive-quantized", "nvfp4-pack-quantized")


class Scheme(NamedTuple):
    """How the layers of a group are stored."""

    targets: tuple[str, ...]
    format: str
    weights: Mapping[str, Any]
    inputs: Mapping[str, Any]


class _Layer(NamedTuple):
    """One matrix by the endings of its tensors' names, and the scheme it should have; None where it should be plain."""

    name: str
    parts: Mapping[str, Located]
    scheme: Scheme | None

    @property
    def quantised(self) -> bool:
        return "weight_packed" in self.parts or "weight_scale" in self.parts or self._type in ("I8", "F8_E4M3")

    @property
    def _type(self) -> str:
        return self.parts["weight"].info.dtype if "weight" in self.parts else ""


def rules(path: Path, stated: Mapping[str, Any], tensors: Mapping[str, Located]) -> list[Finding]:
    """Every layer's tensors against its config group. `path` is the file of the config."""
    schemes = _schemes(stated)
    if not schemes:
        what = "names no config_groups: no engine knows how its weights are packed"
        return [Finding("quantised-groups", "E", str(path), what, "", _AGAIN)]
    layers = list(_layers(tensors, schemes, [str(name) for name in listing(stated.get("ignore"))]))
    found = [*_refused(path, stated, schemes), *_whether(path, layers), *_fused(path, layers)]
    known = [layer for layer in layers if layer.scheme and layer.quantised and layer.scheme.format in _FORMATS]
    return [*found, *_stored(path, known)]


def _schemes(stated: Mapping[str, Any]) -> list[Scheme]:
    groups = [mapping(group) for group in mapping(stated.get("config_groups")).values()]
    return [
        Scheme(
            tuple(str(target) for target in listing(group.get("targets"))),
            str(group.get("format") or stated.get("format")),
            mapping(group.get("weights")),
            mapping(group.get("input_activations")),
        )
        for group in groups
        if mapping(group.get("weights"))
    ]


def _layers(tensors: Mapping[str, Located], schemes: Sequence[Scheme], ignore: Sequence[str]) -> Iterator[_Layer]:
    grouped: dict[str, dict[str, Located]] = {}
    for name, place in tensors.items():
        module, _, part = name.rpartition(".")
        grouped.setdefault(module, {})[part] = place
    for module, parts in sorted(grouped.items()):
        matrix = parts.get("weight_packed") or parts.get("weight")
        if matrix is not None and len(matrix.info.shape) == 2:
            yield _Layer(module, parts, _scheme(module, schemes, ignore))


def _scheme(module: str, schemes: Sequence[Scheme], ignore: Sequence[str]) -> Scheme | None:
    if any(_named(module, name) for name in ignore):
        return None
    by_name = next((scheme for scheme in schemes if any(_named(module, name) for name in scheme.targets)), None)
    linear = module.rpartition(".")[2] not in _NO_LINEAR
    by_class = next((scheme for scheme in schemes if "Linear" in scheme.targets), None) if linear else None
    return by_name or by_class


def _named(module: str, target: str) -> bool:
    if not target.startswith("re:"):
        return module == target
    try:
        return re.match(target.removeprefix("re:"), module) is not None
    except re.error:
        return False


def _refused(path: Path, stated: Mapping[str, Any], schemes: Sequence[Scheme]) -> Iterator[Finding]:
    for scheme in schemes:
        order = scheme.weights.get("actorder")
        if order in ("group", "dynamic"):
            what = "was quantised with an order of activations that vLLM no longer reads"
            fix = "Quantise again with actorder static or weight"
            yield Finding("quantised-actorder", "E", str(path), what, str(order), fix)
        if scheme.format not in _FORMATS:
            what = "is packed in a format whose tensors are not checked here"
            fix = "Compare its answers with the 16-bit model's"
            yield Finding("quantised-unchecked", "W", str(path), what, scheme.format, fix)
        if scheme.format == "nvfp4-pack-quantized":
            what = "is in 4-bit floats, which few accelerators compute with and vLLM refuses on a CPU"
            yield Finding("quantised-nvfp4", "W", str(path), what, "", "Serve it on the accelerator it is meant for")
    if mapping(stated.get("sparsity_config")).get("targets"):
        what = "has a sparsity_config, which vLLM no longer reads"
        yield Finding("quantised-sparsity", "E", str(path), what, "", "Quantise again without sparsity")


def _whether(path: Path, layers: Sequence[_Layer]) -> Iterator[Finding]:
    plain = [layer.name for layer in layers if layer.scheme and not layer.quantised]
    packed = [layer.name for layer in layers if not layer.scheme and layer.quantised]
    if plain:
        what = f"says that layers are quantised which are not: {len(plain)}"
        fix = 'Name them in "ignore" of the quantization_config'
        yield Finding("quantised-not-packed", "E", str(path), what, few(plain), fix)
    if packed:
        what = f"says that layers are plain which are quantised: {len(packed)}"
        fix = 'Take them out of "ignore", and name them in the targets, of the quantization_config'
        yield Finding("quantised-ignored", "E", str(path), what, few(packed), fix)


def _fused(path: Path, layers: Sequence[_Layer]) -> Iterator[Finding]:
    """vLLM computes some layers as one, which then must be quantised alike."""
    schemes = {layer.name: layer.scheme for layer in layers}
    odd = []
    for names in _FUSED:
        for name in (name for name in schemes if name.endswith(f".{names[0]}")):
            stem = name.removesuffix(names[0])
            together = [schemes[stem + other] for other in names if stem + other in schemes]
            if any(scheme != together[0] for scheme in together):
                odd.append(stem + "/".join(names))
    if odd:
        what = f"quantises layers differently that vLLM computes as one, and refuses: {len(odd)}"
        yield Finding("quantised-fused", "E", str(path), what, odd[0], "Quantise them alike, or ignore all of them")


def _stored(path: Path, layers: Sequence[_Layer]) -> Iterator[Finding]:
    wrong: dict[str, list[str]] = {}
    for layer in layers:
        for rule, got in _checked(layer):
            wrong.setdefault(rule, []).append(f"{layer.name}: {got}")
    for rule, what in (
        ("quantised-scale-missing", "lacks scales: vLLM multiplies by memory that nobody wrote"),
        ("quantised-shape", "has tensors of other shapes or types than its config says"),
        ("quantised-group-size", "has rows that its groups do not divide, which vLLM refuses"),
    ):
        if rule in wrong:
            yield Finding(rule, "E", str(path), f"{what}: {len(wrong[rule])} layers", wrong[rule][0], _AGAIN)


def _checked(layer: _Layer) -> Iterator[tuple[str, str]]:
    """What is wrong with one layer: the rule, and what was found."""
    scheme, parts = layer.scheme, layer.parts
    assert scheme is not None
    shape = _matrix(layer, scheme)
    if shape is None:
        stored_as = parts.get("weight_packed") or parts["weight"]
        yield "quantised-shape", f"{stored_as.info.dtype} {list(stored_as.info.shape)} as {scheme.format}"
        return
    for name in _needed(scheme):
        if name not in parts:
            yield "quantised-scale-missing", f"no {name}"
    group = whole(scheme.weights.get("group_size"))
    if scheme.weights.get("strategy") in ("group", "tensor_group") and group and group > 0 and shape[1] % group:
        yield "quantised-group-size", f"{shape[1]} columns in groups of {group}"
        return
    for name, wanted in _shapes(scheme, shape).items():
        if name in parts and parts[name].info.shape not in wanted:
            yield "quantised-shape", f"{name} {list(parts[name].info.shape)}, not {list(wanted[0])}"
    scale, allowed = parts.get("weight_scale"), (*_FLOATS, "F8_E4M3", "U8")
    if scale is not None and scale.info.dtype not in allowed:
        yield "quantised-shape", f"weight_scale {scale.info.dtype}"


def _matrix(layer: _Layer, scheme: Scheme) -> tuple[int, int] | None:
    """Rows and columns of the matrix that is stored; None where it is not stored as its format says."""
    bits, kind = whole(scheme.weights.get("num_bits")), scheme.weights.get("type")
    if scheme.format in ("pack-quantized", "nvfp4-pack-quantized"):
        packed = layer.parts.get("weight_packed")
        if packed is None or not bits or bits > 8:
            return None
        rows, columns = packed.info.shape
        if scheme.format == "nvfp4-pack-quantized":
            return (rows, columns * 2) if packed.info.dtype == "U8" else None
        return _unpacked(layer, (rows, columns), bits) if packed.info.dtype == "I32" else None
    weight = layer.parts.get("weight")
    if weight is None or weight.info.dtype != _PLAIN_TYPES.get((str(kind), bits or 0)):
        return None
    return weight.info.shape[0], weight.info.shape[1]


def _unpacked(layer: _Layer, packed: tuple[int, int], bits: int) -> tuple[int, int] | None:
    """The shape that weight_shape holds, two numbers of 64 bits, where as many fit into the packed columns."""
    stated = layer.parts.get("weight_shape")
    if stated is None or stated.info.dtype not in ("I64", "I32") or stated.info.elements != 2:
        return None
    size = (stated.info.end - stated.info.start) // 2
    with stated.file.open("rb") as file:
        file.seek(stated.info.start)
        rows, columns = (int.from_bytes(file.read(size), "little", signed=True) for _ in range(2))
    fits = packed == (rows, math.ceil(columns / (32 // bits)))
    return (rows, columns) if fits and columns > 0 else None


def _needed(scheme: Scheme) -> list[str]:
    names = ["weight_scale"]
    if scheme.format == "nvfp4-pack-quantized":
        names.append("weight_global_scale")
    elif scheme.weights.get("symmetric") is False:
        names.append("weight_zero_point")
    static = scheme.inputs and scheme.inputs.get("dynamic") is False
    return [*names, "input_scale"] if static and scheme.format != "nvfp4-pack-quantized" else names


def _shapes(scheme: Scheme, shape: tuple[int, int]) -> dict[str, list[tuple[int, ...]]]:
    """The shapes that the tensors beside a matrix may have."""
    rows, columns = shape
    strategy, group = scheme.weights.get("strategy"), whole(scheme.weights.get("group_size")) or columns
    block = [whole(size) or 1 for size in listing(scheme.weights.get("block_structure"))]
    if strategy == "channel":
        return {"weight_scale": [(rows, 1), (rows,)], "weight_zero_point": [(math.ceil(rows / 8), 1), (rows, 1)]}
    if strategy == "block" and len(block) == 2:
        return {"weight_scale": [(math.ceil(rows / block[0]), math.ceil(columns / block[1]))]}
    if strategy in ("group", "tensor_group") and group > 0:
        across, bits = columns // group, whole(scheme.weights.get("num_bits")) or 4
        zero = (math.ceil(rows / (32 // bits)), across)
        return {"weight_scale": [(rows, across)], "weight_zero_point": [zero, (rows, across)]}
    return {"weight_scale": [(1,), ()], "input_scale": [(1,), ()]} if strategy == "tensor" else {}
