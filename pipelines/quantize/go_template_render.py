"""A small interpreter of Go templates: what `go_template.py` writes is rendered by it, as Ollama would.

It knows the part of text/template that is written here: text, fields, variables, string and number literals, `range`,
`if`, `else if`, `else`, `end`, trim markers, and the functions `eq ne and or not len slice index`. Ollama hands a
template `.Messages`, each with `.Role` and `.Content`, and `.System`, the system turns joined by empty lines.
"""

import ast
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

_QUOTED = r'"(?:\\.|[^"\\])*"'
_ACTION = re.compile(rf"\{{\{{(-\s)?((?:{_QUOTED}|\}}(?!\}})|[^\"}}])*?)(\s-)?\}}\}}", re.DOTALL)
_TOKEN = re.compile(rf"\s+|(?P<part>{_QUOTED}|:=|[=,()]|\d+|[$.]?[\w.]*[\w$]|[$.])")
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "eq": lambda one, *others: any(one == other for other in others),
    "ne": lambda one, other: one != other,
    "and": lambda *values: next((value for value in values if not value), values[-1]),
    "or": lambda *values: next((value for value in values if value), values[-1]),
    "not": lambda value: not value,
    "len": len,
    "slice": lambda values, *bounds: values[slice(*bounds)] if len(bounds) > 1 else values[bounds[0] :],
    "index": lambda values, place: values[place],
}


class GoError(ValueError):
    """The template is none that this interpreter, or Go, takes."""


class _Piece(NamedTuple):
    """Text, or the parts of an action."""

    text: str
    parts: list[str]


class _Frame(NamedTuple):
    """What `.` is, and the variables of this block and of those around it, innermost first."""

    dot: Any
    scopes: list[dict[str, Any]]

    def inner(self, dot: Any = None) -> "_Frame":
        return _Frame(self.dot if dot is None else dot, [{}, *self.scopes])


_Block = list[tuple[Any, ...]]


def render(template: str, messages: Sequence[Mapping[str, str]], default_system: str = "") -> str:
    """The prompt that Ollama makes of a conversation. `default_system` is the Modelfile's SYSTEM.

    GoError where the template is broken.
    """
    turns = [{"Role": message["role"], "Content": message["content"]} for message in messages]
    if default_system and (not turns or turns[0]["Role"] != "system"):
        turns.insert(0, {"Role": "system", "Content": default_system})
    system = "\n\n".join(turn["Content"] for turn in turns if turn["Role"] == "system")
    root = {"Messages": turns, "System": system, "Response": ""}
    pieces = _pieces(template)
    block, ended = _block(pieces)
    if ended or next(pieces, None) is not None:
        raise GoError(f"unexpected {{{{ {ended} }}}}")
    return "".join(_run(block, _Frame(root, [{"$": root}])))


def _pieces(template: str) -> Iterator[_Piece]:
    """Texts, cut where trim markers say so, and actions."""
    start, trim = 0, False
    for action in _ACTION.finditer(template):
        text = template[start : action.start()]
        yield _text(text, trim, bool(action[1]))
        yield _Piece("", _parts(action[2]))
        start, trim = action.end(), bool(action[3])
    yield _text(template[start:], trim, False)


def _text(text: str, left: bool, right: bool) -> _Piece:
    if "{{" in text:
        raise GoError(f"unclosed action: {text[text.index('{{') :][:40]}")
    text = text.lstrip() if left else text
    return _Piece(text.rstrip() if right else text, [])


def _parts(action: str) -> list[str]:
    parts, at = [], 0
    while at < len(action):
        found = _TOKEN.match(action, at)
        if not found:
            raise GoError(f"unexpected {action[at:][:20]!r}")
        if found["part"]:
            parts.append(found["part"])
        at = found.end()
    if not parts:
        raise GoError("missing value for command")
    return parts


def _block(pieces: Iterator[_Piece]) -> tuple[_Block, str]:
    """Nodes up to `end` or `else`, which is told, or up to the end of the template."""
    nodes: _Block = []
    for text, parts in pieces:
        if not parts:
            nodes.append(("text", text))
        elif parts[0] in ("end", "else"):
            return nodes, " ".join(parts)
        elif parts[0] == "if":
            nodes.append(_if(parts[1:], pieces))
        elif parts[0] == "range":
            nodes.append(_range(parts[1:], pieces))
        elif len(parts) > 1 and parts[1] in (":=", "="):
            nodes.append(("set", parts[0], parts[1] == ":=", _expression(parts[2:])))
        else:
            nodes.append(("emit", _expression(parts)))
    return nodes, ""


def _if(condition: list[str], pieces: Iterator[_Piece]) -> tuple[Any, ...]:
    then, ended = _block(pieces)
    other: _Block = []
    if ended.startswith("else if "):
        other = [_if(_parts(ended.removeprefix("else if ")), pieces)]
    elif ended == "else":
        other, ended = _block(pieces)
    if ended != "end" and not ended.startswith("else if "):
        raise GoError("if without end")
    return ("if", _expression(condition), then, other)


def _range(parts: list[str], pieces: Iterator[_Piece]) -> tuple[Any, ...]:
    names: list[str] = []
    if ":=" in parts:
        at = parts.index(":=")
        names, parts = [part for part in parts[:at] if part != ","], parts[at + 1 :]
    body, ended = _block(pieces)
    if ended != "end":
        raise GoError("range without end")
    return ("range", names, _expression(parts), body)


def _expression(parts: list[str]) -> Any:
    """A value, or a function and its arguments as a tuple."""
    stack: list[list[Any]] = [[]]
    for part in parts:
        if part == "(":
            stack.append([])
        elif part == ")" and len(stack) > 1:
            inner = stack.pop()
            stack[-1].append(_call(inner))
        elif part.startswith(".") and len(part) > 1 and stack[-1] and isinstance(stack[-1][-1], tuple):
            stack[-1][-1] = ("field", stack[-1][-1], part)
        else:
            stack[-1].append(part)
    if len(stack) > 1:
        raise GoError("unclosed left parenthesis")
    return _call(stack[0])


def _call(parts: list[Any]) -> Any:
    if len(parts) == 1 and (isinstance(parts[0], tuple) or parts[0] not in _FUNCTIONS):
        return parts[0] if isinstance(parts[0], tuple) else ("value", parts[0])
    if not parts or parts[0] not in _FUNCTIONS:
        raise GoError(f"function {str(parts[0] if parts else '')!r} not defined")
    return ("call", parts[0], [part if isinstance(part, tuple) else ("value", part) for part in parts[1:]])


def _run(block: _Block, frame: _Frame) -> Iterator[str]:
    for node in block:
        if node[0] == "text":
            yield node[1]
        elif node[0] == "emit":
            yield str(_value(node[1], frame))
        elif node[0] == "if":
            yield from _run(node[2] if _value(node[1], frame) else node[3], frame.inner())
        elif node[0] == "range":
            yield from _repeat(node, frame)
        else:
            _set(node, frame)


def _repeat(node: tuple[Any, ...], frame: _Frame) -> Iterator[str]:
    _, names, values, body = node
    for place, item in enumerate(_value(values, frame)):
        inner = frame.inner(item)
        inner.scopes[0].update(zip(names, (place, item) if len(names) > 1 else (item,), strict=False))
        yield from _run(body, inner)


def _set(node: tuple[Any, ...], frame: _Frame) -> None:
    _, name, new, expression = node
    found = _value(expression, frame)
    scope = frame.scopes[0] if new else next((scope for scope in frame.scopes if name in scope), None)
    if scope is None:
        raise GoError(f"undefined variable {name}")
    scope[name] = found


def _value(expression: tuple[Any, ...], frame: _Frame) -> Any:
    if expression[0] == "call":
        return _FUNCTIONS[expression[1]](*(_value(argument, frame) for argument in expression[2]))
    if expression[0] == "field":
        return _field(_value(expression[1], frame), expression[2])
    part = expression[1]
    if part[0] == '"':
        return ast.literal_eval(part)
    if part.isdigit():
        return int(part)
    name, dot, path = part.partition(".")
    if not name:
        return _field(frame.dot, dot + path)
    scope = next((scope for scope in frame.scopes if name in scope), None)
    if scope is None:
        raise GoError(f"undefined variable or function {name}")
    return _field(scope[name], dot + path)


def _field(value: Any, path: str) -> Any:
    for key in filter(None, path.split(".")):
        if not isinstance(value, Mapping) or key not in value:
            raise GoError(f"can't evaluate field {key}")
        value = value[key]
    return value
