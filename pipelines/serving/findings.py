"""What was seen of a folder that is to be served: checks that held, errors that are refused, warnings that are told."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pipelines.errors import Problem, UserError

Severity = Literal["E", "W"]


class Check(NamedTuple):
    """A check that held, and the words or the number that say what it saw."""

    name: str
    saw: str | float


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


def below(finding: Finding, root: Path) -> Finding:
    """The finding with its paths told from `root`, which is a place on this machine alone."""
    rule, severity, *said = finding
    return Finding(rule, severity, *(text.replace(f"{root}/", "") for text in said))


def verification(checks: Iterable[Check], told: Iterable[Finding]) -> dict[str, Any]:
    """What `verification.json` of an export holds."""
    listed = [{key: value for key, value in one._asdict().items() if key != "severity"} for one in told]
    return {"checks": [check._asdict() for check in checks], "warnings": listed}
