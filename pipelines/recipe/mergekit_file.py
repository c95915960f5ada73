"""What a mergekit YAML file says, in one form: which models, with which setting of every parameter.

Schema: mergekit 0.1.5, `MergeConfiguration`. A setting is a value, a list over the layers, or conditions on tensor
names of which the first that fits counts; where none fits, the next level is asked: model, slice, module, file.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pipelines.errors import wrong
from pipelines.merge.mergekit.methods import METHODS, check_name
from pipelines.recipe.mistakes import closest

Levels = tuple[Mapping[str, Any], ...]
Chain = tuple[tuple[str, Any], ...]
"""(text in the tensor's name, value or list of values), of which the first that fits counts; "" fits every name."""

_KEYS = (
    "models", "slices", "modules", "merge_method", "base_model", "dtype", "out_dtype", "tokenizer_source", "tokenizer",
    "chat_template", "parameters",
)  # fmt: skip
_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


class Place(NamedTuple):
    """A folder or a hub repository."""

    path: str
    revision: str = ""

    def __str__(self) -> str:
        return f"{self.path}@{self.revision}" if self.revision else self.path


class Model(NamedTuple):
    """What is merged: the weights at a place, or those with an adapter on them."""

    weights: Place
    adapter: Place | None = None

    def __str__(self) -> str:
        return f"{self.weights}+{self.adapter}" if self.adapter else str(self.weights)


class Given(NamedTuple):
    """A model that is merged, with its own parameters and, in slices, its layers."""

    model: Model
    parameters: Mapping[str, Any] = {}
    layers: tuple[int, int] | None = None


class Stack(NamedTuple):
    """A slice of the result."""

    sources: tuple[Given, ...]
    parameters: Mapping[str, Any]
    base: Model | None


class File(NamedTuple):
    """A merge. `models` are merged whole, or the result is stacked of `slices`; `levels` hold for all models."""

    method: str
    base: Model | None
    models: tuple[Given, ...]
    slices: tuple[Stack, ...]
    levels: Levels
    rest: Mapping[str, Any]
    ignored: tuple[str, ...]

    def shared(self, name: str, default: Any = None) -> Chain:
        """The setting of a parameter for all models."""
        return chain(self.levels, name, default)

    def each(self, name: str, model: Given, default: Any = None) -> Chain:
        """The setting of a parameter for one model."""
        return chain((model.parameters, *self.levels), name, default)


def read_file(written: Any, where: str) -> File:
    """The content of a mergekit YAML. UserError where mergekit would not take it, or it needs what recipes lack."""
    if not isinstance(written, Mapping) or "merge_method" not in written:
        what = "is a mergekit-moe file, which makes a mixture of experts" if _is_moe(written) else "has no merge_method"
        raise wrong(where, what, "", "Name a file that mergekit-yaml reads")
    try:
        method = check_name(str(written["merge_method"]))
    except ValueError as error:
        raise wrong(f"{where}: merge_method", str(error)) from None
    forms = [key for key in ("models", "slices", "modules") if written.get(key)]
    if len(forms) != 1:
        raise wrong(where, "must have exactly one of models, slices and modules", ", ".join(forms) or "none")
    levels, body, told = _body(written, forms[0], where)
    base = _model(written["base_model"], f"{where}: base_model") if written.get("base_model") else None
    models = tuple(_given(one, f"{where}: models.{at}") for at, one in enumerate(body.get("models") or ()))
    slices = tuple(_stack(one, f"{where}: slices.{at}") for at, one in enumerate(body.get("slices") or ()))
    found = File(method, base, models, slices, levels, written, ())
    return found._replace(ignored=(*told, *_ignored(found, written)))


def chain(levels: Sequence[Mapping[str, Any]], name: str, default: Any) -> Chain:
    """A setting as one chain over its levels; it ends with a value for every name if there is a default."""
    found: list[tuple[str, Any]] = []
    for level in (*levels, {name: default}):
        for text, value in _conditions(level.get(name)):
            found.append((text, value))
            if not text:
                return tuple(found)
    return tuple(found)


def flag(setting: Chain, name: str) -> bool:
    """A setting that is true or false for all tensors. UserError where it is neither."""
    value = setting[0][1] if setting else None
    value = _WORDS.get(value.lower(), value) if isinstance(value, str) else value
    if len(setting) != 1 or value not in (True, False):
        raise wrong(name, "must be true or false, the same for all tensors", str(value))
    return bool(value)


def _conditions(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        for one in value:
            yield from _conditions(one)
    elif isinstance(value, Mapping):
        if value.get("value") not in (None, []):
            text = value.get("filter")
            yield "" if text in (None, "*") else str(text), value["value"]
    elif value not in (None, []):
        yield "", value


def _is_moe(written: Any) -> bool:
    return isinstance(written, Mapping) and "experts" in written


def _body(written: Mapping[str, Any], form: str, where: str) -> tuple[Levels, Mapping[str, Any], tuple[str, ...]]:
    """The levels of parameters from near to far, what holds models or slices, and what is to be said."""
    everywhere: Mapping[str, Any] = written.get("parameters") or {}
    if form != "modules":
        return (everywhere,), written, ()
    modules = written["modules"]
    parts = list(modules.values())
    if any(part != parts[0] for part in parts):
        what = "merges the modules of a model differently, and a merge here holds for all tensors"
        raise wrong(f"{where}: modules", what, ", ".join(modules), "Write patterns of tensor names by hand")
    told = f"modules: {', '.join(modules)} taken to be the whole model"
    return (parts[0].get("parameters") or {}, everywhere), parts[0], (told,)


def _stack(one: Mapping[str, Any], where: str) -> Stack:
    sources = tuple(_given(source, f"{where}.sources.{at}") for at, source in enumerate(one.get("sources") or ()))
    if not sources or any(source.layers is None for source in sources):
        raise wrong(where, "needs sources, each with model and layer_range")
    base = _model(one["base_model"], f"{where}.base_model") if one.get("base_model") else None
    return Stack(sources, one.get("parameters") or {}, base)


def _given(one: Mapping[str, Any], where: str) -> Given:
    if not isinstance(one, Mapping) or "model" not in one:
        raise wrong(where, "names no model")
    layers = one.get("layer_range")
    span = (int(layers[0]), int(layers[1])) if layers else None
    return Given(_model(one["model"], f"{where}.model"), one.get("parameters") or {}, span)


def _model(written: Any, where: str) -> Model:
    """A model as mergekit writes it: `path`, `path@revision`, `path+adapter`, or the same as a mapping."""
    if not isinstance(written, Mapping):
        weights, *adapters = str(written).split("+")
        if len(adapters) > 1:
            raise wrong(where, "has more than one adapter, which mergekit refuses", str(written))
        return Model(_place(weights), _place(adapters[0]) if adapters else None)
    if written.get("override_architecture"):
        what = "overrides the architecture, which recipes cannot"
        raise wrong(where, what, str(written["override_architecture"]))
    adapter = written.get("lora")
    return Model(_place(written.get("model", written)), _place(adapter) if adapter else None)


def _place(written: Any) -> Place:
    if isinstance(written, Mapping):
        return Place(str(written["path"]), str(written.get("revision") or ""))
    path, _, revision = str(written).partition("@")
    return Place(path, revision)


def _ignored(file: File, written: Mapping[str, Any]) -> Iterator[str]:
    """What the file says and mergekit takes no notice of."""
    for key in written:
        if key not in _KEYS:
            yield f"{key}: mergekit does not know it. {closest(key, _KEYS)}".rstrip()
    known = METHODS[file.method]
    givens = [*file.models, *(source for one in file.slices for source in one.sources)]
    levels = [
        (level, (*known.shared, *known.each)) for level in (*file.levels, *(one.parameters for one in file.slices))
    ]
    levels += [(given.parameters, known.each) for given in givens]
    for name in dict.fromkeys(name for level, names in levels for name in level if name not in names):
        yield f"{name}: mergekit's {file.method} does not read it there"
