"""Where the models of a mergekit file come from, and the adapters that it puts on them."""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from pipelines.errors import UserError, wrong
from pipelines.recipe.mergekit_file import File, Model

_HUB = re.compile(r"\w[\w.-]*/[\w.-]+")


class Folder(NamedTuple):
    """A model or adapter folder on this machine: how the recipe writes its path, and its layers where a config says."""

    written: str
    layers: int | None


Look = Callable[[str], Folder | None]


def source(model: Model, look: Look) -> tuple[dict[str, str], tuple[str, ...]]:
    """A model, or the adapter on one, as a recipe names it, and what is to be said of that."""
    path, revision = model.adapter or model.weights
    kind = "adapter" if model.adapter else "path"
    if folder := look(path):
        notes = (f"{path}@{revision}: a folder has no revision",) if revision else ()
        return {kind: folder.written}, notes
    if kind == "path" and _HUB.fullmatch(path):
        return {"hub": path} | ({"revision": revision} if revision else {}), ()
    known = "is no folder here" if kind == "adapter" else "is no folder here and no name on the hub, owner/name"
    return {kind: path}, (f"{path}: {known}",)


def base_of(file: File) -> Model:
    """The base of the recipe: base_model; where there is none what adapters are put on, or else the first model."""
    models = [model for _, model in _models(file, "")]
    bases = [base for base in (*(one.base for one in file.slices), file.base) if base]
    return [*bases, *(Model(model.weights) for model in models if model.adapter), models[0]][0]


def check_adapters(file: File, where: str, look: Look) -> tuple[str, ...]:
    """What is to be said of adapters. UserError where one cannot be merged as such: only a folder, on the base."""
    base = base_of(file)
    adapted = [(place, model.weights, model.adapter) for place, model in _models(file, where) if model.adapter]
    if base.adapter:
        raise _to_bake(f"{where}: base_model", "is a model with an adapter on it, and a base is a plain model", base)
    for place, weights, adapter in adapted:
        if source(Model(weights), look) != source(base, look):
            raise _to_bake(place, f"puts an adapter on another model than {base}", Model(weights, adapter))
        if look(adapter.path) is None and _HUB.fullmatch(adapter.path):
            what = "names an adapter on the hub, and a recipe merges adapters from folders"
            pinned = f" --revision {adapter.revision}" if adapter.revision else ""
            fix = f"Run hf download {adapter.path}{pinned} --local-dir {adapter.path}, then this again"
            raise wrong(place, what, str(adapter), fix)
    if not adapted:
        return ()
    says = f"adapters: mergekit bakes each into {base}, rounds, and merges what that makes; here the task vector is the"
    return (f"{says} product of the adapter's own matrices: the same without that rounding",)


def _models(file: File, where: str) -> Iterator[tuple[str, Model]]:
    """Every model that is merged, and where it is written."""
    for at, one in enumerate(file.models):
        yield f"{where}: models.{at}.model", one.model
    for at, stack in enumerate(file.slices):
        for place, one in enumerate(stack.sources):
            yield f"{where}: slices.{at}.sources.{place}.model", one.model


def _to_bake(where: str, what: str, model: Model) -> UserError:
    fix = "Bake the adapter into its model (peft's merge_and_unload, in float32) and name that folder here"
    return wrong(where, what, str(model), fix)
