"""Why a server of vLLM ended, in one line of the hundreds that it leaves."""

import re
from pathlib import Path

from pipelines.errors import UserError, wrong

_REASON = r"((?:\w+\.)*\w*(?:Error|Exception|error): [^\n]+(?:\n +Value error, [^\n]+)?)"
_BARE = r"(assert [^\n]+)\n(?:[^\n]*\^\^[^\n]*\n)?[^\n]*?\bAssertionError\s*\n"
_WARNINGS = r"(?m)^.* WARNING .*\n"
_VALIDATION = r"^.*ValidationError: .*\n +Value error, "
_ABOUT_ANOTHER = r"Engine core init|EngineDead|WorkerProc init|failed to be inspected"
_SHOWN = 300


def ended(where: str, status: int, log: Path) -> UserError:
    """The error for a server that ended with this exit status, from what its log says."""
    got = reason(log.read_text(encoding="utf-8", errors="replace")) or f"exit status {status}"
    fix = "Mend the folder, the arguments or the environment; all that vLLM said is in the log of the stage"
    return wrong(where, "vLLM ended", got[:_SHOWN], fix)


def reason(said: str) -> str:
    """The last error that is not about another one; empty where there is none.

    An assertion without a message is told by its source, and of a failed validation only what failed.
    """
    errors = re.sub(_WARNINGS, "", said)
    found = [line for line in re.findall(_REASON, errors) if not re.search(_ABOUT_ANOTHER, line)]
    found = found or [f"AssertionError: {line}" for line in re.findall(_BARE, errors)]
    return re.sub(_VALIDATION, "", found[-1]).strip() if found else ""
