"""Read YAML as plain values that know the line they came from.

Scalars follow the core schema of YAML 1.2: `on` and `no` are words, `1e-4` is a number, dates are text.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from pipelines.errors import UserError, wrong

try:
    from yaml import CSafeLoader as _FastLoader
except ImportError:
    from yaml import SafeLoader as _FastLoader  # type: ignore[assignment]

_TAG = "tag:yaml.org,2002:"


class Origin(NamedTuple):
    """Where a value was written: a file and its line, or a command line (no line)."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class Item(NamedTuple):
    """A value with its origin; a mapping holds Items by key, a list holds Items."""

    value: Any
    origin: Origin


class _Loader(_FastLoader):
    """Resolves what YAML 1.2 resolves, and nothing else."""

    yaml_implicit_resolvers: dict[str, Any] = {}


_Loader.add_implicit_resolver(_TAG + "null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver(_TAG + "bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Loader.add_implicit_resolver(
    _TAG + "int", re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    _TAG + "float",
    re.compile(
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+.0123456789"),
)


def read_yaml(path: Path) -> Item:
    """A YAML file as Items. Raises UserError: unreadable, not UTF-8, not YAML, empty, a key given twice."""
    shown = shown_path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise wrong(shown, "there is no such file") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise wrong(f"{shown}:{line}", "is not UTF-8", f"byte {error.object[error.start]:#04x}") from None
    except OSError as error:
        raise wrong(shown, "cannot be read", str(error.strerror)) from None
    return parse_yaml(text, shown)


def parse_yaml(text: str, file: str, on_command_line: bool = False) -> Item:
    """YAML text as Items whose origins name `file`."""
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, file, on_command_line) from None
    except yaml.YAMLError as error:
        raise wrong(file, "is not YAML", str(error).splitlines()[0]) from None
    if node is None:
        raise wrong(file, "is empty")
    problems: list[UserError] = []
    item = _item(node, file, on_command_line, problems, ())
    if problems:
        raise UserError(*(problem for error in problems for problem in error.problems))
    return item


def shown_path(path: Path) -> str:
    """A path as the user would type it: from the working folder where it lies below, else absolute."""
    try:
        return path.absolute().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return str(path)


def shown(item: Item) -> str:
    """A value as an error shows it: short, in the words of YAML."""
    value = item.value
    if value is None or isinstance(value, (dict, list)):
        return "nothing" if value is None else "a mapping" if isinstance(value, dict) else "a list"
    text = f"'{value}'" if isinstance(value, str) else str(value).lower()
    return text if len(text) <= 60 else text[:57] + "..."


def plain(item: Item) -> Any:
    """The value without origins."""
    if isinstance(item.value, dict):
        return {key: plain(child) for key, child in item.value.items()}
    if isinstance(item.value, list):
        return [plain(child) for child in item.value]
    return item.value


def below(item: Item, path: tuple[str | int, ...]) -> Item | None:
    """The value at `path`; None where nothing is written."""
    for key in path:
        inside = item.value
        if isinstance(inside, dict) and key in inside:
            item = inside[str(key)]
        elif isinstance(inside, list) and isinstance(key, int) and key < len(inside):
            item = inside[key]
        else:
            return None
    return item


def origin_of(item: Item, path: tuple[str | int, ...]) -> Origin:
    """Where the value at `path` is written, or what is nearest around it."""
    while (found := below(item, path)) is None:
        path = path[:-1]
    return found.origin


def _item(node: yaml.Node, file: str, bare: bool, problems: list[UserError], above: tuple[int, ...]) -> Item:
    origin = Origin(file, 0 if bare else node.start_mark.line + 1)
    if id(node) in above:
        raise wrong(str(origin), "an alias that contains itself")
    above = (*above, id(node))
    if isinstance(node, yaml.MappingNode):
        return Item(_mapping(node, file, bare, problems, above), origin)
    if isinstance(node, yaml.SequenceNode):
        return Item([_item(child, file, bare, problems, above) for child in node.value], origin)
    assert isinstance(node, yaml.ScalarNode)
    return Item(_scalar(node, origin, problems), origin)


def _mapping(
    node: yaml.MappingNode, file: str, bare: bool, problems: list[UserError], above: tuple[int, ...]
) -> dict[str, Item]:
    """Keys are text, whatever they look like; an entry's line is its key's."""
    found: dict[str, Item] = {}
    for key_node, value_node in node.value:
        origin = Origin(file, 0 if bare else key_node.start_mark.line + 1)
        if not isinstance(key_node, yaml.ScalarNode):
            problems.append(wrong(str(origin), "a key must be a single word"))
            continue
        key = key_node.value
        if key in found:
            problems.append(wrong(str(origin), f"key '{key}' is given twice, first at {found[key].origin}"))
            continue
        found[key] = Item(_item(value_node, file, bare, problems, above).value, origin)
    return found


def _scalar(node: yaml.ScalarNode, origin: Origin, problems: list[UserError]) -> Any:
    text = node.value
    match node.tag.removeprefix(_TAG):
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int" if len(text) < 100:
            return int(text, 0 if text[:2] in ("0o", "0x") else 10)
        case "float":
            return float(re.sub(r"^([-+]?)\.(inf|nan)$", r"\1\2", text.lower()))
        case "str":
            return text
        case "int":
            problems.append(wrong(str(origin), "a number of more than 100 digits"))
            return None
    problems.append(wrong(str(origin), "a tag that recipes do not know", node.tag, "Remove the tag"))
    return None


def _syntax_error(error: yaml.MarkedYAMLError, file: str, bare: bool) -> UserError:
    mark = error.problem_mark or error.context_mark
    where = f"{file}:{mark.line + 1}" if mark and not bare else file
    what = f"is not YAML: {error.problem or error.context}"
    if mark and error.problem and "\\t" in error.problem:
        return wrong(where, what, "", "Indent with spaces, not tabs")
    return wrong(where, what, f"column {mark.column + 1}" if mark else "")
