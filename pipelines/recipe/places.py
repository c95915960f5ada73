"""Rewrite the references and paths of a checked config, each with the place that it has in the recipe."""

from collections.abc import Callable, Mapping
from operator import is_
from typing import Any

from pydantic import BaseModel

from pipelines.engine.stage import InputPath, Ref
from pipelines.recipe.shape import Path

Rewrite = Callable[[Any, Path], Any]


def rewritten(value: Any, change: Rewrite, path: Path = ()) -> Any:
    """The value with `change(it, place)` for each Ref and InputPath; a path may become several in the list it is in."""
    if isinstance(value, (Ref, InputPath)):
        return change(value, path)
    if isinstance(value, BaseModel):
        return _model(value, change, path)
    if isinstance(value, Mapping):
        items = {name: rewritten(item, change, (*path, name)) for name, item in value.items()}
        return items if any(items[name] is not item for name, item in value.items()) else value
    if isinstance(value, tuple):
        return _sequence(value, change, path)
    return value


def _model(config: BaseModel, change: Rewrite, path: Path) -> BaseModel:
    changed: dict[str, Any] = {}
    for name, field in type(config).model_fields.items():
        old = getattr(config, name)
        new = rewritten(old, change, (*path, field.alias or name))
        if new is not old:
            changed[name] = new
    return config.model_copy(update=changed) if changed else config


def _sequence(items: tuple[Any, ...], change: Rewrite, path: Path) -> tuple[Any, ...]:
    found: list[Any] = []
    for place, item in enumerate(items):
        new = rewritten(item, change, (*path, place))
        found += new if isinstance(new, tuple) and isinstance(item, InputPath) else [new]
    return items if len(found) == len(items) and all(map(is_, found, items)) else tuple(found)


def with_seed(config: Any, seed: int) -> Any:
    """The config with `seed` in every field of that name that the recipe leaves open."""
    if isinstance(config, tuple):
        return tuple(with_seed(item, seed) for item in config)
    if not isinstance(config, BaseModel):
        return config
    changed = {}
    for name in type(config).model_fields:
        old = getattr(config, name)
        new = seed if name == "seed" and name not in config.model_fields_set else with_seed(old, seed)
        if new != old:
            changed[name] = new
    return config.model_copy(update=changed) if changed else config
