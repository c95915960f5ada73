"""What a folder that is to be served has wrong with it: an error is refused, a warning is told."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from pipelines.errors import Problem, UserError

Severity = Literal["E", "W"]


class Finding(NamedTuple):
    """One thing that a rule found. `rule` is its name in `docs/serving.md`; the rest reads as a Problem."""

    rule: str
    severity: Severity
    where: str
    what: str
    got: str = ""
    fix: str = ""

    @property
    def problem(self) -> Problem:
        return Problem(self.where, self.what, self.got, self.fix)

    def __str__(self) -> str:
        return f"{self.severity} {self.rule}: {self.problem}"


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """Those that forbid to serve the folder."""
    return [finding for finding in findings if finding.severity == "E"]


def warnings(findings: Iterable[Finding]) -> list[Finding]:
    """Those that are told."""
    return [finding for finding in findings if finding.severity == "W"]


def require_none(findings: Iterable[Finding]) -> None:
    """UserError with every error among the findings, if there is one."""
    if found := errors(findings):
        raise UserError(*(finding.problem for finding in found))
