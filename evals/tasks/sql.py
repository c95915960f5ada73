"""Whether a predicted SQL query selects what the expected one selects, on small databases filled at random.

In the manner of test-suite accuracy (Zhong, Yu, Klein 2020, arXiv 2010.02840): one database may hide a difference, many
drawn ones seldom do. All of them follow from the expected query and the schema, so that scores repeat to the digit.
"""

import random
import re
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

TELLING, TRIES = 8, 64
"""Databases on which the expected query must select something, and how many are drawn at most to find that many."""
ROWS, FEW, MANY = 16, 4, 16
"""Rows drawn for a table, and of how many different values: of few, so that rows repeat; of many, so that few tie."""
STEPS, MOST_ROWS, LONGEST = 2_000_000, 5_000, 100_000
"""Limits of a query: steps of SQLite's machine (seconds would hang on ours), rows, bytes of a value."""

_TOKEN = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|\d+(?:\.\d+)?(?!\w)|[A-Za-z_]\w*|[<>!=]+|\S""")
_FENCE = re.compile(r"^```(?:sql)?|```$")
_CHOICES = re.compile(r"CHECK\s*\(\s*(\w+)\s+IN\s*\(([^)]*)\)", re.IGNORECASE)
_EQUAL = re.compile(r"(?:(\w+)\s*\.\s*)?(\w+)\s*=\s*(?:(\w+)\s*\.\s*)?(\w+)")
_CLOCK = re.compile(r"'now'|\b(?:date|time|datetime|julianday|unixepoch)\s*\(\s*\)", re.IGNORECASE)
_CHANCE = {"random", "randomblob", "current_date", "current_time", "current_timestamp", "load_extension"}
_READS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
_NUMBERS = ("INT", "REAL", "FLOA", "DOUB", "NUM", "DEC", "BOOL")


class Column(NamedTuple):
    """Name and type as declared; `choices` are the values that a CHECK (column IN (...)) leaves."""

    name: str
    type: str
    choices: tuple[str, ...]


Cell = str | int | float
Schema = dict[str, list[Column]]
Constants = defaultdict[tuple[str, str], list[str]]
"""By table and column, in lower case."""


def judge(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """`executed` and, beside it, `exact_match`. `undecided` is the same for every model: 1 where no database tells the
    expected query's answer from nothing (it fails, selects nothing, or its answer hangs on the order in which rows are
    read), so that `executed` falls back on the exact match.
    """
    expected, predicted = doc["completion"], results[0]
    exact = float(_spelling(expected) == _spelling(predicted))
    same = _same(doc["schema"], expected, predicted)
    executed = exact if same is None else float(same)
    return {"executed": executed, "exact_match": exact, "undecided": float(same is None)}


def _spelling(query: str) -> str:
    """A query without what text2sql.yaml does not look at either."""
    for pattern in (_FENCE, r"\s+", "[\"'`]", ";$"):
        query = re.sub(pattern, "", query)
    return query.lower()


def _same(schema: str, expected: str, predicted: str) -> bool | None:
    """Whether both queries select the same rows as often on every database, and in the same order where the expected
    one sorts them; columns are compared by their place, not by their names. None where no database tells anything.
    """
    arrange: Any = list if _sorts(expected) else Counter
    tables = _tables(schema)
    constants = _constants(expected, tables)
    same, telling = True, 0
    for number in range(TRIES):
        database = _connect(schema)
        for table in _named(tables, f"{expected}\n{predicted}"):
            _fill(database, table, tables[table], constants, f"{number}:{table}:{expected}", number)
        wanted = _select(database, expected, tables)
        if wanted is not None and arrange(wanted) == arrange(_select(database, expected, tables, backwards=True) or []):
            rows = _select(database, predicted, tables)
            same = same and rows is not None and arrange(rows) == arrange(wanted)
            telling += any(cell not in (None, 0, "") for row in wanted for cell in row)
        database.close()
        if telling == TELLING or (telling and not same):
            break
    return same if telling else None


def _connect(schema: str) -> sqlite3.Connection:
    """An empty database in memory that can reach no file."""
    database = sqlite3.connect(":memory:")
    database.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST)
    database.executescript(schema)
    return database


def _select(
    database: sqlite3.Connection, query: str, tables: Schema, backwards: bool = False
) -> list[tuple[Any, ...]] | None:
    """The rows of one reading statement; None for any other, and for one that fails, takes too long, selects too much,
    or would select other rows at another time. `backwards` reads tables from their ends where no order is asked for.
    """
    text = _strings(_FENCE.sub("", query.strip()), tables)
    if _CLOCK.search(text):
        return None
    database.execute(f"PRAGMA reverse_unordered_selects = {backwards:d}")
    database.set_authorizer(_authorise)
    database.set_progress_handler(lambda: 1, STEPS)
    try:
        rows = database.execute(text).fetchmany(MOST_ROWS + 1)
    except (sqlite3.Error, sqlite3.Warning, ValueError):
        return None
    finally:
        database.set_authorizer(None)
        database.set_progress_handler(None, 0)
    if len(rows) > MOST_ROWS:
        return None
    return [tuple(float(f"{cell:.9g}") if isinstance(cell, float) else cell for cell in row) for row in rows]


def _authorise(action: int, _: str | None, function: str | None, *__: str | None) -> int:
    chance = action == sqlite3.SQLITE_FUNCTION and str(function).lower() in _CHANCE
    return sqlite3.SQLITE_OK if action in _READS and not chance else sqlite3.SQLITE_DENY


def _sorts(query: str) -> bool:
    """Whether the query itself sorts its rows, not only one inside it."""
    depth = 0
    for token in _TOKEN.findall(query):
        depth += (token == "(") - (token == ")")
        if not depth and token.lower() == "order":
            return True
    return False


def _strings(query: str, tables: Schema) -> str:
    """The query with "text" as 'text' where it is no name: a string in the data's dialect, not in every SQLite."""
    tokens = _TOKEN.findall(query)
    names = {*map(str.lower, tables), *(column.name.lower() for columns in tables.values() for column in columns)}
    names |= {alias[1:-1].lower() for word, alias in pairwise(tokens) if word.lower() == "as"}

    def single(match: re.Match[str]) -> str:
        token = match[0]
        if token[0] != '"' or len(token) == 1 or token[1:-1].lower() in names:
            return token
        return "'" + token[1:-1].replace('""', '"').replace("'", "''") + "'"

    return _TOKEN.sub(single, query)


def _tables(schema: str) -> Schema:
    database = _connect(schema)
    choices = {
        name.lower(): tuple(map(_text, filter(_is_literal, _TOKEN.findall(v)))) for name, v in _CHOICES.findall(schema)
    }
    names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {
        name: [
            Column(column, kind.upper(), choices.get(column.lower(), ()))
            for _, column, kind, *_ in database.execute(f'PRAGMA table_info("{name}")')
        ]
        for name in names
    }


def _named(tables: Schema, query: str) -> list[str]:
    """The tables that a query may read. Each has a generator of its own, so that the others' rows do not move."""
    words = {token.strip('"`').lower() for token in _TOKEN.findall(query)}
    return [table for table in tables if table.lower() in words]


def _fill(
    database: sqlite3.Connection, table: str, columns: list[Column], constants: Constants, seed: str, number: int
) -> None:
    """Rows, without those that break a constraint. Every fourth database is drawn without the query's constants."""
    rng, values = random.Random(seed), MANY if number % 2 else FEW
    known = [[] if number % 4 == 3 else constants[table.lower(), column.name.lower()] for column in columns]
    rows = [[_cell(rng, *each, values) for each in zip(columns, known, strict=True)] for _ in range(ROWS)]
    database.executemany(f'INSERT OR IGNORE INTO "{table}" VALUES ({", ".join("?" * len(columns))})', rows)
    database.commit()


def _cell(rng: random.Random, column: Column, constants: Sequence[str], values: int) -> Cell:
    """Mostly a constant that the query compares the column with, or a neighbour of it; else one of `values` others.

    All columns of numbers draw from the same few, and those of words too, so that two tables can be joined.
    """
    number = not column.type or any(word in column.type for word in _NUMBERS)
    usable = [text for text in constants if _usable(text, column, number)]
    if usable and rng.random() < 0.8:
        constant = rng.choice(usable)
        return constant if column.choices else _near(rng, constant)
    if column.choices:
        return rng.choice(column.choices)
    drawn = rng.randint(1, values)
    if number:
        return drawn
    return (
        f"2020-01-{drawn:02}"
        if "DATE" in column.type
        else f"{drawn:02}:00:00"
        if "TIME" in column.type
        else f"w{drawn}"
    )


def _usable(constant: str, column: Column, number: bool) -> bool:
    if column.choices:
        return constant in column.choices
    return not number or not column.type or _is_number(constant)


def _near(rng: random.Random, constant: str) -> Cell:
    """Mostly the constant itself, else what lies just above or below it; of a pattern its fixed part."""
    if _is_number(constant):
        number = float(constant) if "." in constant else int(constant)
        return rng.choice([number] * 4 + [number - 1, number + 1])
    text = constant.strip("%").replace("%", " ")
    return rng.choice([text] * 4 + [f"{text} z", f"a {text}", text[:-1]])


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\d+(\.\d+)?", text) is not None


def _is_literal(token: str) -> bool:
    return token[0].isdigit() or (token[0] in "'\"" and len(token) > 1)


def _text(literal: str) -> str:
    return literal if literal[0].isdigit() else literal[1:-1]


def _constants(query: str, tables: Schema) -> Constants:
    """What a query compares each column with: the constants that follow its name. Columns set equal share theirs."""
    columns = {table.lower(): {column.name.lower() for column in every} for table, every in tables.items()}
    names = _aliases(query, columns)

    def places(qualifier: str, name: str) -> list[tuple[str, str]]:
        """One place, or that column of every table where the qualifier is none of them, as of a query inside."""
        owners = [names[qualifier.lower()]] if qualifier.lower() in names else list(columns)
        return [(table, name.lower()) for table in owners if name.lower() in columns[table]]

    found: Constants = defaultdict(list)
    here: list[tuple[str, str]] = []
    tokens = ["", "", *_TOKEN.findall(query)]
    for qualifier, before, token in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if not _is_literal(token):
            here = places(qualifier if before == "." else "", token) or here
        elif before.lower() not in ("limit", "offset"):
            for place in here:
                found[place].append(_text(token))
    links = [(one, other) for a, b, c, d in _EQUAL.findall(query) for one in places(a, b) for other in places(c, d)]
    for one, other in links * 2:
        found[one] = found[other] = list(dict.fromkeys([*found[one], *found[other]]))
    return found


def _aliases(query: str, tables: dict[str, set[str]]) -> dict[str, str]:
    """By which names the query calls its tables, those of the tables included."""
    names = {table: table for table in tables}
    tokens = [*map(str.lower, _TOKEN.findall(query)), "", ""]
    for table, word, after in zip(tokens, tokens[1:], tokens[2:], strict=False):
        alias = after if word == "as" else word
        if table in tables and alias.isidentifier():
            names.setdefault(alias, table)
    return names
