"""What is asked of a folder, and how each check of it ended."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from pipelines.errors import UserError
from pipelines.serving.environments import Environment, Name, find
from pipelines.serving.findings import Finding, errors

Engine = Literal["transformers4", "vllm", "none"]


class Asked(NamedTuple):
    """A folder and what it is compared with.

    `base` must answer differently, `source` alike; `adapter` is what was merged into `base`. With `static` no model is
    loaded. `engines` must be there; without any, those that are installed are asked.
    """

    folder: Path
    base: Path | None = None
    source: Path | None = None
    adapter: Path | None = None
    static: bool = False
    engines: tuple[Engine, ...] = ()


class Step(NamedTuple):
    """A check and how it ended; what was found is there whatever the state."""

    check: str
    state: Literal["ok", "refused", "skipped"]
    says: str
    findings: tuple[Finding, ...] = ()


def found(check: str, findings: Sequence[Finding], says: str = "") -> Step:
    """A step that looked for what is wrong."""
    bad = len(errors(findings))
    told = len(findings) - bad
    counts = [f"{bad} to mend"] * bool(bad) + [f"{told} to know"] * bool(told)
    return Step(check, "refused" if bad else "ok", ", ".join([*([says] if says else []), *counts]), tuple(findings))


def attempt(check: str, work: Callable[[], str]) -> Step:
    """A step that says what it saw, and is refused where it raises a UserError."""
    try:
        return Step(check, "ok", work())
    except UserError as error:
        return Step(check, "refused", "", tuple(Finding(check, "E", *problem) for problem in error.problems))


def with_engine(asked: Asked, name: Name, work: Callable[[Environment], str]) -> Iterator[Step]:
    """The step of an engine that lives in an environment of its own; none where only others were asked for."""
    environment = find(name)
    if asked.engines and name not in asked.engines:
        return
    if environment is None:
        yield Step(name, "skipped", f"not installed: burnish doctor --install {name}")
        return
    yield attempt(name, lambda: work(environment))


@contextlib.contextmanager
def told() -> Iterator[Path]:
    """A file for all that an engine says; it is kept, and named, where the engine fails."""
    handle, name = tempfile.mkstemp(prefix="burnish-verify-", suffix=".log")
    os.close(handle)
    log = Path(name)
    try:
        yield log
    except UserError as error:
        raise UserError(
            *(problem._replace(fix=f"{problem.fix}. All it said: {log}") for problem in error.problems)
        ) from error
    log.unlink()
