"""Walk values together with the annotations of the config classes that they will become."""

import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipelines.recipe.yaml_file import Item

T = TypeVar("T")
Path = tuple[str | int, ...]


def fields_of(config: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of a config by the key that a recipe uses."""
    return {field.alias or name: field for name, field in config.model_fields.items()}


def options(annotation: Any) -> Iterator[Any]:
    """The alternatives of an annotation, unions and Annotated taken apart."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from options(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for option in get_args(annotation):
            yield from options(option)
    else:
        yield annotation


def classes(annotation: Any, wanted: type[T]) -> list[type[T]]:
    """The alternatives that are subclasses of `wanted`."""
    return [option for option in options(annotation) if isinstance(option, type) and issubclass(option, wanted)]


def kinds(config: type[BaseModel]) -> tuple[str, ...]:
    """What `kind` may be in a config that is one of a union; nothing where it is not."""
    field = config.model_fields.get("kind")
    return get_args(field.annotation) if field and get_origin(field.annotation) is Literal else ()


def variant(annotation: Any, item: Item) -> type[BaseModel] | None:
    """The config class that a mapping will become, by its `kind` where there are several."""
    found = classes(annotation, BaseModel)
    kind = item.value.get("kind") if isinstance(item.value, dict) else None
    for option in found:
        if kind and kind.value in kinds(option):
            return option
    return found[0] if len(found) == 1 else None


def child(annotation: Any, item: Item, key: str | int) -> tuple[Any, FieldInfo | None]:
    """Annotation and field of what is below `key` in a value of this annotation; (None, None) where nothing can be."""
    for option in options(annotation):
        origin, arguments = get_origin(option), get_args(option)
        if origin is dict and isinstance(key, str):
            return arguments[1], None
        if origin is tuple and isinstance(key, int):
            return arguments[0], None
    config = variant(annotation, item)
    field = fields_of(config).get(str(key)) if config else None
    return (field.annotation, field) if field else (None, None)


def written(annotation: Any, item: Item, wanted: type[T], path: Path = ()) -> Iterator[tuple[type[T], str, Path]]:
    """Every text below a value that will become a `wanted`, with the class it will be and its path."""
    inside = item.value
    if isinstance(inside, str):
        yield from ((option, inside, path) for option in classes(annotation, wanted)[:1])
    keys = inside if isinstance(inside, dict) else range(len(inside)) if isinstance(inside, list) else ()
    for key in keys:
        inner, _ = child(annotation, item, key)
        if inner:
            yield from written(inner, inside[key], wanted, (*path, key))
