"""What a user is told when something is wrong: one line a problem, all problems at once."""

from collections.abc import Sequence
from typing import NamedTuple

_SHOWN = 3


class Problem(NamedTuple):
    """One mistake: where it is, what is wrong, what was found there and what to do about it."""

    where: str
    what: str
    got: str = ""
    fix: str = ""

    def __str__(self) -> str:
        line = f"{self.where}: {self.what}" if self.where else self.what
        if self.got:
            line += f" (got {self.got})"
        if self.fix:
            line += f". {self.fix}"
        return " ".join(line.split())


class UserError(Exception):
    """The recipe, the data or the machine is wrong. Printed as one line a problem, never as a traceback."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__(*problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


def wrong(where: str, what: str, got: str = "", fix: str = "") -> UserError:
    """The error for a single problem."""
    return UserError(Problem(where, what, got, fix))


def few(names: Sequence[str]) -> str:
    """The first of what may be hundreds: a problem stays a line."""
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
