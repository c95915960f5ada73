"""How much of a JSON answer is right, field by field."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any

Field = tuple[tuple[str | int, ...], str, Any]
"""Path of a value, its kind and the value."""
_BRACKETS = 1000
"""How many a value is looked for behind: a model that writes nothing else may write a million."""


def field_f1(references: list[str], predictions: list[str]) -> float:
    """F1 over the fields of one answer: twice those that both have, over those of both. A field is a value that holds
    no others, together with its path; both must agree, kinds too: 1 is 1.0 but neither "1" nor true.

    Lenient where exact match is strict: white space and the order of keys do not matter, nor does what stands around
    the first JSON value, such as a block of code. An answer without one scores 0. The order of a list does matter.
    A task's score is the mean over documents, not one count of all fields: models are compared document by document.
    """
    expected = Counter(_fields(json.loads(references[0])))
    answered = Counter(field for value in _values(predictions[0]) for field in _fields(value))
    return 2 * (expected & answered).total() / (expected.total() + answered.total())


def _values(answer: str) -> Iterator[Any]:
    """The first JSON value of an answer: the whole of it, or from one of its first brackets on; none without one."""
    brackets = islice(re.finditer(r"[\[{]", answer), _BRACKETS)
    for start in (0, *(bracket.start() for bracket in brackets)):
        try:
            value, end = json.JSONDecoder().raw_decode(answer, start)
        except (ValueError, RecursionError):
            continue
        if start or end == len(answer.rstrip()):
            yield value
            return


def _fields(value: Any) -> Iterator[Field]:
    """Empty objects and lists are fields too, so that no value is without any. Takes any depth: answers may have it."""
    inside: list[tuple[tuple[str | int, ...], Any]] = [((), value)]
    while inside:
        path, value = inside.pop()
        if isinstance(value, dict | list) and value:
            items = value.items() if isinstance(value, dict) else enumerate(value)
            inside += [((*path, key), item) for key, item in items]
        elif isinstance(value, dict | list):
            yield path, type(value).__name__, None
        else:
            number = isinstance(value, int | float) and not isinstance(value, bool)
            yield path, "number" if number else type(value).__name__, value
