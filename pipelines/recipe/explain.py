"""What a value of the effective recipe is, where it comes from and what it means."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pipelines.engine.stage import Config
from pipelines.errors import wrong
from pipelines.recipe.mistakes import closest
from pipelines.recipe.recipe import Recipe
from pipelines.recipe.sections import ENTRIES, Sections
from pipelines.recipe.shape import Path, fields_of

DEFAULT, RECIPE_SEED = "default", "the recipe's seed"


class Explained(NamedTuple):
    """One effective value. `origin` is a place, `--set …`, the default, or the recipe's seed."""

    path: str
    value: Any
    origin: str
    description: str
    default: Any


def explain(recipe: Recipe, dotted: str) -> list[Explained]:
    """The value at a dotted path, or every value below it. Raises UserError where there is none."""
    wanted = dotted.strip(".")
    path = tuple(wanted.split(".")) if wanted else ()
    every = list(_values(recipe))
    # Compared as text: a key may have dots in it.
    found = [one for _, one in every if not wanted or one.path == wanted or one.path.startswith(f"{wanted}.")]
    if not found:
        raise _unknown(recipe, path, [_names(place) for place, _ in every])
    return found


def _names(path: Path) -> tuple[str, ...]:
    return tuple(map(str, path))


def _unknown(recipe: Recipe, path: tuple[str, ...], every: list[tuple[str, ...]]) -> Exception:
    """Point at the first part of the path that the recipe does not have."""
    depth = max(len(path[:n]) for n in range(len(path)) if any(one[:n] == path[:n] for one in every))
    around = sorted({one[depth] for one in every if len(one) > depth and one[:depth] == path[:depth]})
    inside = ".".join(path[:depth]) or "the recipe"
    fix = closest(path[depth], around) or (f"It has {', '.join(around)}" if around else f"Ask for {inside}")
    return wrong(str(recipe.path), f"{inside} has no '{path[depth]}'", "", fix)


def _values(recipe: Recipe) -> Iterator[tuple[Path, Explained]]:
    sections = fields_of(Sections)
    for name in ("burnish", "name", "seed"):
        value = {"burnish": 1, "name": recipe.name, "seed": recipe.seed}[name]
        yield (name,), _explained(recipe, (name,), value, sections[name])
    for section in ("base", *ENTRIES):
        for entry in recipe.entries.values():
            if entry.section == section and ":" not in entry.id:
                yield from _below(recipe, entry.path, entry.config, None)
    if recipe.evaluate:
        yield from _below(recipe, ("evaluate",), recipe.evaluate, None)
    for place, gate in recipe.gates:
        yield from _below(recipe, ("gates", place), gate, None)
    yield from _below(recipe, ("report",), recipe.report, None)


def _below(recipe: Recipe, path: Path, value: Any, field: FieldInfo | None) -> Iterator[tuple[Path, Explained]]:
    """The leaves of a value; an empty mapping is a leaf too."""
    if isinstance(value, BaseModel):
        for key, inner in fields_of(type(value)).items():
            name = next(name for name, one in type(value).model_fields.items() if one is inner)
            yield from _below(recipe, (*path, key), getattr(value, name), inner)
    elif isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _below(recipe, (*path, key), item, field)
    elif isinstance(value, tuple) and any(isinstance(item, Config) for item in value):
        for place, item in enumerate(value):
            yield from _below(recipe, (*path, place), item, field)
    else:
        yield path, _explained(recipe, path, value, field)


def _explained(recipe: Recipe, path: Path, value: Any, field: FieldInfo | None) -> Explained:
    stated = recipe.states(path)
    inherited = not stated and path[-1] == "seed" and len(path) > 1
    origin = str(recipe.origin(path)) if stated else RECIPE_SEED if inherited else DEFAULT
    shown = list(value) if isinstance(value, tuple) else value
    default = field.default if field and field.default is not PydanticUndefined else None
    known = default.model_dump(by_alias=True) if isinstance(default, BaseModel) else default
    return Explained(".".join(_names(path)), shown, origin, (field.description or "") if field else "", known)
