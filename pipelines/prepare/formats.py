"""What a row means: from columns to a conversation or a text, and what is wrong with a row that is neither."""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from pipelines.prepare.config import Format

Turns = list[dict[str, str]]
REQUIRED: dict[Format, tuple[str, ...]] = {
    "messages": ("messages",),
    "prompt_completion": ("prompt", "completion"),
    "alpaca": ("instruction", "output"),
    "sharegpt": ("conversations",),
    "text": ("text",),
}
OPTIONAL: dict[Format, tuple[str, ...]] = {
    "messages": ("source",),
    "prompt_completion": ("system", "source"),
    "alpaca": ("input", "system", "source"),
    "sharegpt": ("system", "source"),
    "text": ("source",),
}
SPLITS = ("train", "dev", "test")
_SPEAKERS = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
_COLUMN = re.compile(r"\{([A-Za-z_][\w .-]*)\}")


class Meaning(NamedTuple):
    """How rows are read: the format, its roles' columns, and the system turn for rows without one."""

    format: Format
    columns: Mapping[str, str]
    system: str | None = None


class Example(NamedTuple):
    """A row that makes sense: a conversation, or a text; `source` is None where no column names it."""

    messages: Turns | None
    text: str | None
    source: str | None


class BrokenRow(Exception):
    """What is wrong with a row, what was found there, and what to do about it."""

    def __init__(self, what: str, got: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what, self.got, self.fix = what, got, fix


class NoColumn(BrokenRow):
    """A column that the mapping names is not there."""


def roles(format: Format) -> tuple[str, ...]:
    """The roles that `columns` may map in this format."""
    return REQUIRED[format] + OPTIONAL[format]


def example(row: Mapping[str, Any], meaning: Meaning) -> Example:
    """The conversation or text that a row holds. Raises BrokenRow, with one reason."""
    values = {role: _value(row, role, meaning) for role in REQUIRED[meaning.format]}
    for role in OPTIONAL[meaning.format]:
        if role in meaning.columns or (role != "source" and row.get(role) not in (None, "")):
            values[role] = _value(row, role, meaning)
    source = None if "source" not in values else _text(values["source"], "source")
    if meaning.format == "text":
        return Example(None, _text(values["text"], "text"), source)
    turns = _turns(values, meaning.format)
    system = _text(values["system"], "system") if "system" in values else meaning.system
    if system and turns and turns[0]["role"] != "system":
        turns = [{"role": "system", "content": system}, *turns]
    _check_order(turns)
    return Example(turns, None, source)


def named_split(row: Mapping[str, Any], column: str | None) -> str | None:
    """The split that the row's column names; None without a column. Raises BrokenRow for any other name."""
    if column is None:
        return None
    if column not in row:
        raise NoColumn(f"has no column {column!r} for the split", ", ".join(map(str, row)), "Name it in `split.column`")
    if row[column] not in SPLITS:
        raise BrokenRow(f"column {column!r} names no split", str(row[column]), "Write train, dev or test there")
    return str(row[column])


def _value(row: Mapping[str, Any], role: str, meaning: Meaning) -> Any:
    """The value of the role's column, or its text with each {column} filled in."""
    wanted = meaning.columns.get(role, role)
    if wanted in row:
        return row[wanted]
    names = _COLUMN.findall(wanted)
    for name in names or [wanted]:
        if name not in row:
            raise NoColumn(f"has no column {name!r} for {role}", ", ".join(map(str, row)), "Map it under `columns`")
    return _COLUMN.sub(lambda column: _filled(row[column[1]]), wanted)


def _filled(value: Any) -> str:
    return (
        value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    )


def _text(value: Any, role: str) -> str:
    if value is None or (isinstance(value, str) and not value.strip()):
        raise BrokenRow(f"{role} is empty")
    if isinstance(value, (list, dict)):
        column = f"Map it as text: `columns: {{{role}: '{{{role}}}'}}`"
        fix = "Write the turn's content as one text" if role.endswith(" turn") else column
        raise BrokenRow(f"{role} is not text", type(value).__name__, fix)
    text = _filled(value)
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise BrokenRow(f"{role} holds half a surrogate pair, which is no text")
    return text


def _turns(values: Mapping[str, Any], format: Format) -> Turns:
    if format == "messages":
        return [_turn(turn, "role", "content") for turn in _list(values["messages"], "messages")]
    if format == "sharegpt":
        return [_turn(turn, "from", "value") for turn in _list(values["conversations"], "conversations")]
    if format == "alpaca":
        prompt, answer = _text(values["instruction"], "instruction"), _text(values["output"], "output")
        if "input" in values:
            prompt += "\n\n" + _text(values["input"], "input")
    else:
        prompt, answer = _text(values["prompt"], "prompt"), _text(values["completion"], "completion")
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def _list(value: Any, role: str) -> list[Any]:
    """A list of turns; tables hold it as JSON text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise BrokenRow(f"{role} is not a JSON list: {error}") from error
    if not isinstance(value, list):
        raise BrokenRow(f"{role} is not a list", type(value).__name__)
    return value


def _turn(turn: Any, speaker: str, words: str) -> dict[str, str]:
    if not isinstance(turn, dict) or speaker not in turn or words not in turn:
        raise BrokenRow(f"a turn is not an object with {speaker!r} and {words!r}")
    if turn.get("tool_calls"):
        raise BrokenRow("a turn calls tools, which rows cannot hold yet", fix="Remove the row")
    said = turn[speaker]
    if said not in _SPEAKERS or (speaker == "role" and said in ("human", "gpt")):
        raise BrokenRow("a turn has an unknown role", str(said), "Use system, user and assistant")
    role = _SPEAKERS[said]
    return {"role": role, "content": _text(turn[words], f"the {role} turn")}


def _check_order(turns: Turns) -> None:
    said = [turn["role"] for turn in turns]
    got = " ".join(said)
    if "assistant" not in said:
        raise BrokenRow("has no assistant turn, so there is nothing to learn", got)
    talk = said[1:] if said[0] == "system" else said
    if any(role != ("user", "assistant")[turn % 2] for turn, role in enumerate(talk)):
        raise BrokenRow(
            "has its roles out of order", got, "After an optional system turn, user and assistant alternate"
        )
    if talk[-1] != "assistant":
        raise BrokenRow("does not end with an assistant turn", got, "Remove the last user turn")
