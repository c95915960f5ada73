"""Errors inside the functions that a task YAML names, told as one line: which function, which document, what."""

import json
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from pipelines.errors import UserError, wrong
from pipelines.evaluate.builtin import tasks_folder
from pipelines.evaluate.tasks import Ready

_SHOWN = 60


@contextmanager
def naming(ready: Ready) -> Iterator[None]:
    """UserError at the task's place instead of what its own Python code raises; any other error goes on."""
    try:
        yield
    except UserError as error:
        error.problems = tuple(one if one.where else one._replace(where=ready.where) for one in error.problems)
        raise
    except Exception as error:
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        own = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__) if _is_own(ready, frame)]
        if not own:
            raise
        raise _failed(ready, error, *own[-1], _document(frames)) from error


def _failed(ready: Ready, error: Exception, frame: FrameType, line: int, document: str) -> UserError:
    code = frame.f_code
    place = f"{Path(code.co_filename).name}:{line}"
    name = "the code" if code.co_name == "<module>" else f"the function {code.co_name}"
    fix = "Mend it" if ready.own else "Give the task documents of the kind that it expects, or choose another"
    what = f"{name} at {place} fails" + (f" on document {document}" if document else "")
    return wrong(ready.where, what, f"{type(error).__name__}: {error}", fix)


def _is_own(ready: Ready, frame: FrameType) -> bool:
    file = Path(frame.f_code.co_filename)
    if ready.own:
        return file.resolve() in {need.resolve() for need in ready.needs}
    return tasks_folder() in file.parents and file.parent != tasks_folder()


def _document(frames: list[FrameType]) -> str:
    """The innermost document that any of the calls was given: its id, or how it begins."""
    for frame in reversed(frames):
        if isinstance(doc := frame.f_locals.get("doc"), dict):
            return str(doc["id"]) if "id" in doc else json.dumps(doc, default=str)[:_SHOWN]
    return ""
