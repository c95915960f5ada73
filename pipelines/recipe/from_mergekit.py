"""A mergekit YAML as a recipe that says in comments what differs and why."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from pipelines.errors import wrong
from pipelines.merge.config import MergeConfig
from pipelines.merge.mergekit.methods import METHODS
from pipelines.recipe.mergekit_file import Chain, File, Given, Model, read_file
from pipelines.recipe.mergekit_methods import WITHIN, Beyond, Job, own
from pipelines.recipe.mergekit_sources import Look, base_of, check_adapters, source
from pipelines.recipe.mergekit_text import recipe_text

_DTYPES = ("float32", "bfloat16", "float16")


class Translation(NamedTuple):
    """The recipe, and what is worth knowing about it."""

    text: str
    notes: tuple[str, ...]


class _Merge(NamedTuple):
    """The entry of the merge: its fields, where models are still Models, and its notes."""

    base: Model
    fields: dict[str, Any]
    notes: tuple[str, ...]


def from_mergekit(written: Any, where: str, path: str, look: Look) -> Translation:
    """The recipe at `path` for the content of a mergekit file. `look` finds a model's folder.

    UserError where mergekit would not run it either, or where a recipe cannot say it.
    """
    file, notes = _whole(read_file(written, where), look)
    adapters = check_adapters(file, where, look)
    merge = _merge(file, where)
    fields, said = _stored(file, merge.fields)
    notes = (*notes, *merge.notes, *adapters, *said, *_left_out(file), *file.ignored)
    sources = {model: source(model, look) for model in (merge.base, *_models(fields))}
    notes += tuple(note for _, told in sources.values() for note in told)
    uses = {model: "base" if model == merge.base else named for model, (named, _) in sources.items()}
    entry = _named(fields, uses)
    if WITHIN in json.dumps(entry):
        notes += (f"a list is spread over the layers ({WITHIN}); all else gets its first number, as in mergekit",)
    return Translation(recipe_text(where, path, sources[merge.base][0], entry, notes), notes)


def _whole(file: File, look: Look) -> tuple[File, tuple[str, ...]]:
    """A single slice of all layers is a merge of whole models."""
    if len(file.slices) != 1:
        return file, ()
    only = file.slices[0]
    ranges = {one.layers for one in only.sources}
    known = {folder.layers for one in only.sources if (folder := look(one.model.weights.path))} - {None}
    start, stop = next(iter(ranges)) or (0, 0)
    if len(ranges) > 1 or start or (known and known != {stop}) or (file.method == "passthrough" and not known):
        return file, ()
    notes = () if known else (f"layer_range [0, {stop}] is taken to be all layers: check that {stop} is their number",)
    models = tuple(one._replace(layers=None) for one in only.sources)
    levels = (only.parameters, *file.levels)
    return file._replace(models=models, slices=(), levels=levels, base=only.base or file.base), notes


def _merge(file: File, where: str) -> _Merge:
    """By a method of ours where one means the same, else by mergekit's."""
    if file.slices:
        return _by_mergekit(file, where, "layers are stacked")
    given = _with_base(file, where)
    job = Job(file, given, where)
    try:
        found = own(job)
        base = base_of(file)
        models = [
            {"use": one.model} | ({} if weight == 1 else {"weight": weight})
            for one, weight in zip(job.tuned, found.weights, strict=True)
        ]
        fields = {"models": models, "method": found.method}
        _check(base, fields)
    except Beyond as beyond:
        return _by_mergekit(file, where, str(beyond))
    notes = () if file.base else (f"no base_model: {base} gives config and tokenizer, which mergekit takes from any",)
    return _Merge(base, fields, (*notes, *found.differs, *_base_of(file)))


def _with_base(file: File, where: str) -> tuple[Given, ...]:
    """All models; mergekit adds the base where it is not listed."""
    listed = [one.model for one in file.models]
    if repeated := [str(model) for at, model in enumerate(listed) if model in listed[:at]]:
        raise wrong(f"{where}: models", "lists a model twice, which mergekit refuses", repeated[0])
    if METHODS[file.method].base == "needed" and file.base is None:
        raise wrong(where, f"{file.method} needs a base_model")
    if file.base is None or file.base in listed:
        return file.models
    if not _of_a_slice(file):
        return (*file.models, Given(file.base))
    if METHODS[file.method].base != "unused":
        raise wrong(
            f"{where}: slices", "lack the base_model among their sources, which mergekit refuses", str(file.base)
        )
    return file.models


def _of_a_slice(file: File) -> bool:
    """Whether the models are the sources of a slice, to which mergekit adds no base."""
    return "slices" in file.rest or any("slices" in part for part in (file.rest.get("modules") or {}).values())


def _base_of(file: File) -> Iterator[str]:
    """Where listing the base makes a difference, or none."""
    listed = [one for one in file.models if one.model == file.base]
    if METHODS[file.method].base == "unused":
        if file.base and not listed and not _of_a_slice(file):
            yield f"{file.base} is merged too: {file.method} knows no base_model, and mergekit adds it to the models"
    elif any(one.parameters for one in listed):
        yield "the parameters of the base mean nothing, in mergekit neither"


def _by_mergekit(file: File, where: str, why: str) -> _Merge:
    """The merge through mergekit itself, its parameters as they were."""
    known = METHODS[file.method]
    notes = [f"engine: mergekit, because no method here means the same: {why}"]
    method: dict[str, Any] = {"kind": "mergekit", "name": file.method}
    if file.slices:
        base, models, parts = _stacked(file, where)
        method |= parts
        parameters = _settings([(name, file.shared(name)) for name in (*known.shared, *known.each)])
    else:
        job = Job(file, _with_base(file, where), where)
        base = base_of(file)
        each = [name for name in known.each if name != "weight"]
        weights = job.weights() if "weight" in known.each else (1.0,) * len(job.tuned)
        models = [
            {"use": one.model}
            | ({} if weight == 1 else {"weight": weight})
            | _nonempty(
                "parameters", _settings([(name, file.each(name, one)) for name in each if name in one.parameters])
            )
            for one, weight in zip(job.tuned, weights, strict=True)
        ]
        parameters = _settings([(name, file.shared(name)) for name in (*known.shared, *each)])
        notes += _base_of(file)
    if known.base == "optional" and file.base is None:
        method["task_vectors"] = False
    method |= _nonempty("parameters", parameters)
    try:
        _check(base, {"models": models, "method": method, "engine": "mergekit"})
    except Beyond as beyond:
        raise wrong(where, "cannot be done here", "", f"{beyond}") from None
    return _Merge(base, {"models": models, "method": method, "engine": "mergekit"}, tuple(notes))


def _stacked(file: File, where: str) -> tuple[Model, list[dict[str, Any]], dict[str, Any]]:
    """The base, the models and the slices of a stack of layers."""
    if len({one.base or file.base for one in file.slices}) > 1:
        raise wrong(f"{where}: slices", "have different base models, and a merge here has one")
    base = base_of(file)
    every = dict.fromkeys(given.model for one in file.slices for given in one.sources)
    models = [{"use": model} for model in every if model != base] or [{"use": base}]
    known = METHODS[file.method]
    slices = [
        {
            "sources": [
                {"use": given.model, "layer_range": list(given.layers or ())} | _read(given.parameters, known.each)
                for given in one.sources
            ]
        }
        | _read(one.parameters, (*known.shared, *known.each))
        for one in file.slices
    ]
    return base, models, {"slices": slices}


def _settings(named: list[tuple[str, Chain]]) -> dict[str, Any]:
    """Settings as mergekit writes them, without those that nobody made."""
    found: dict[str, Any] = {}
    for name, setting in named:
        if len(setting) == 1 and not setting[0][0]:
            found[name] = setting[0][1]
        elif setting:
            found[name] = [({"filter": text} if text else {}) | {"value": value} for text, value in setting]
    return found


def _read(parameters: Mapping[str, Any], known: tuple[str, ...]) -> dict[str, Any]:
    """The parameters that mergekit reads."""
    return _nonempty("parameters", {name: value for name, value in parameters.items() if name in known})


def _nonempty(name: str, value: Any) -> dict[str, Any]:
    return {name: value} if value else {}


def _check(base: Model, fields: Mapping[str, Any]) -> None:
    """Beyond, where the recipe would be refused."""
    names = {model: "base" if model == base else str(model) for model in (base, *_models(fields))}
    try:
        MergeConfig.model_validate(_named(fields, names))
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in detail["loc"] if part != fields["method"]["kind"])
        said = str(detail.get("ctx", {}).get("error") or f"{place} {detail['msg'].lower()}")
        raise Beyond(said) from None


def _models(value: Any) -> Iterator[Model]:
    """Every Model in the fields of a merge."""
    if isinstance(value, Model):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _models(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _models(one)


def _named(value: Any, names: Mapping[Model, Any]) -> Any:
    """The fields with what the recipe writes in place of every Model."""
    if isinstance(value, Model):
        return names[value]
    if isinstance(value, Mapping):
        return {key: _named(one, names) for key, one in value.items()}
    return [_named(one, names) for one in value] if isinstance(value, (list, tuple)) else value


def _stored(file: File, fields: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The type that weights are stored in."""
    computed = str(file.rest.get("dtype") or "").removeprefix("torch.")
    stored = str(file.rest.get("out_dtype") or computed).removeprefix("torch.")
    notes = [f"dtype: {computed}: sums are taken in float32 all the same, and rounded once"] if computed else []
    notes = [] if computed == "float32" else notes
    if not stored:
        return fields, ("no dtype: weights keep the type of the base",)
    if stored not in _DTYPES:
        notes.append(f"weights cannot be stored as {stored}: float32 it is")
        stored = "float32"
    return fields | {"dtype": stored}, tuple(notes)


def _left_out(file: File) -> Iterator[str]:
    """Of tokenizers and templates only the base's are carried."""
    source = file.rest.get("tokenizer_source")
    tokenizer = file.rest.get("tokenizer") or {}
    source = source or (tokenizer.get("source") if tokenizer else None)
    if source and str(source) not in ("base", str(file.base)):
        yield (
            f"tokenizer source {source}: not translated. All models must have the base's tokenizer, "
            "which is checked before a weight is read, and the base's is kept with all its rows"
        )
    for name in ("tokens", "pad_to_multiple_of"):
        if tokenizer.get(name):
            yield f"tokenizer.{name}: not translated. The rows of the base are kept as they are"
    if file.rest.get("chat_template"):
        yield "chat_template: not translated. The base's is kept; for another change chat_template.jinja of the base"
