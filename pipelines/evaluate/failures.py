"""Errors inside the functions that a task YAML names, told as one line: which function, which document, what."""

import json
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.errors import UserError, wrong
from pipelines.evaluate.builtin import tasks_folder
from pipelines.evaluate.ready import Ready

_SHOWN = 60


class Call(NamedTuple):
    """One line of a traceback; `document` is what the call knew under the name `doc`."""

    file: str
    function: str
    line: int
    document: Any


@contextmanager
def naming(ready: Ready) -> Iterator[None]:
    """UserError at the task's place instead of what its own Python code raises; any other error goes on."""
    try:
        yield
    except UserError as error:
        error.problems = tuple(one if one.where else one._replace(where=ready.where) for one in error.problems)
        raise
    except Exception as error:
        calls = [
            Call(frame.f_code.co_filename, frame.f_code.co_name, line, frame.f_locals.get("doc"))
            for frame, line in traceback.walk_tb(error.__traceback__)
        ]
        if isinstance(error, SyntaxError):
            calls.append(Call(error.filename or "", "<module>", error.lineno or 0, None))
        own = [call for call in calls if _is_own(ready, Path(call.file))]
        if not own:
            raise
        raise _failed(ready, error, own[-1], _document(calls)) from error


def _failed(ready: Ready, error: Exception, call: Call, document: str) -> UserError:
    place = f"{Path(call.file).name}:{call.line}"
    name = "the code" if call.function == "<module>" else f"the function {call.function}"
    mend = "Mend it, or the document" if document else "Mend it"
    fix = mend if ready.own else "Give the task documents of the kind that it expects, or choose another"
    what = f"{name} at {place} fails" + (f" on document {document}" if document else "")
    return wrong(ready.where, what, f"{type(error).__name__}: {error}", fix)


def _is_own(ready: Ready, file: Path) -> bool:
    if ready.own:
        return file.resolve() in {need.resolve() for need in ready.needs}
    return tasks_folder() in file.parents and file.parent != tasks_folder()


def _document(calls: list[Call]) -> str:
    """The innermost document that any of the calls was given: its id, or how it begins."""
    documents = [call.document for call in calls if isinstance(call.document, dict)]
    if not documents:
        return ""
    return str(documents[-1]["id"]) if "id" in documents[-1] else json.dumps(documents[-1], default=str)[:_SHOWN]
