"""Lay one recipe over another (`extends`) and settings of the command line over both (`--set`)."""

from collections.abc import Sequence
from pathlib import Path

from pipelines.errors import wrong
from pipelines.recipe.yaml_file import Item, Origin, parse_yaml, read_yaml, shown, shown_path

_SOURCES = {"hub", "path", "wheel", "files", "file", "generator", "dataset", "task"}


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> Item:
    """The effective recipe: the file over what it extends, the overrides over both. Raises UserError."""
    item = _without_empty(_extended(path, ()))
    for override in overrides:
        item = _overridden(item, override)
    return item


def merge(old: Item, new: Item) -> Item:
    """`new` over `old`: mappings key by key, everything else as a whole.

    A mapping that names another `kind` or another source replaces the old one: what was set for the old kind says
    nothing about the new one. Null over a mapping or a list takes it away.
    """
    if not (isinstance(old.value, dict) and isinstance(new.value, dict)) or _switches(old.value, new.value):
        return new
    merged = dict(old.value)
    for key, item in new.value.items():
        if key in merged and item.value is None and isinstance(merged[key].value, (dict, list)):
            del merged[key]
        else:
            merged[key] = merge(merged[key], item) if key in merged else item
    return Item(merged, new.origin)


def _switches(old: dict[str, Item], new: dict[str, Item]) -> bool:
    if "kind" in old and "kind" in new and old["kind"].value != new["kind"].value:
        return True
    chosen = new.keys() & _SOURCES
    return bool(chosen and old.keys() & _SOURCES and not chosen & old.keys())


def _extended(path: Path, above: tuple[Path, ...]) -> Item:
    item = read_yaml(path)
    if not isinstance(item.value, dict):
        raise wrong(str(item.origin), "a recipe is a mapping of sections", shown(item))
    extends = item.value.get("extends")
    if extends is None:
        return item
    if not isinstance(extends.value, str):
        raise wrong(str(extends.origin), "extends: must be the path of one recipe", shown(extends))
    parent = (path.parent / extends.value).resolve()
    chain = (*above, path.resolve())
    if parent in chain:
        names = " -> ".join(shown_path(link) for link in (*chain, parent))
        raise wrong(str(extends.origin), f"extends: recipes extend each other in a circle: {names}")
    if not parent.is_file():
        raise wrong(str(extends.origin), "extends: there is no such recipe", extends.value)
    return merge(_extended(parent, chain), item)


def _without_empty(recipe: Item) -> Item:
    """Drop sections that have nothing in them: those whose entries are all commented out."""
    return Item({key: item for key, item in recipe.value.items() if item.value is not None}, recipe.origin)


def _overridden(item: Item, override: str) -> Item:
    path, equals, text = override.partition("=")
    shown = f"--set {override}"
    if not equals or not path.strip("."):
        raise wrong(shown, "a setting is written path=value", "", "For example --set train.tuned.learning_rate=1e-4")
    origin = Origin(f"--set {path}")
    value = parse_yaml(text, origin.file, on_command_line=True) if text.strip() else Item(None, origin)
    return _without_empty(_assigned(item, path.strip(".").split("."), value, origin))


def _assigned(item: Item, parts: list[str], value: Item, origin: Origin) -> Item:
    """`item` with `value` at the end of the path."""
    head, *rest = parts
    if isinstance(item.value, list):
        if not (head.isdecimal() and int(head) < len(item.value)):
            raise wrong(origin.file, f"the list at {item.origin} has no item {head}", f"{len(item.value)} items")
        changed = list(item.value)
        old = changed[int(head)]
        changed[int(head)] = _assigned(old, rest, value, origin) if rest else merge(old, value)
        return Item(changed, item.origin)
    known = item.value if isinstance(item.value, dict) else {}
    head, rest = _key(known, parts)
    if rest and head in known:
        return Item(known | {head: _assigned(known[head], rest, value, origin)}, item.origin)
    return Item(merge(Item(known, origin), Item({head: _nested(rest, value, origin)}, origin)).value, item.origin)


def _key(known: dict[str, Item], parts: list[str]) -> tuple[str, list[str]]:
    """The first key of a path and what follows it: a key that is there may have dots in it."""
    for end in range(len(parts), 1, -1):
        if (key := ".".join(parts[:end])) in known:
            return key, parts[end:]
    return parts[0], parts[1:]


def _nested(parts: list[str], value: Item, origin: Origin) -> Item:
    for part in reversed(parts):
        value = Item({part: value}, origin)
    return value
