"""The packages that Burnish stands on, as its own metadata asks for them, beside what is installed."""

import re
from importlib.metadata import PackageNotFoundError, requires, version
from typing import NamedTuple

CORE = "core"
NEEDED = (CORE, "train")
"""The extras without which no recipe runs; the others are for some of its sections."""
_OWN = "burnish"
_ASKED = re.compile(r"([\w.-]+)(?:\[[\w,-]*\])?(?:>=([\d.]+))?(?: ?; ?extra == [\"'](\w+)[\"'])?$")
_BUILDERS = ("all", "dev")


class Package(NamedTuple):
    """A distribution, the extra that asks for it, the least version asked for, and that installed: empty for none."""

    name: str
    extra: str
    least: str
    installed: str

    @property
    def lacks(self) -> str:
        """What is wrong with it: not installed, or too old. Empty where nothing is."""
        if not self.installed:
            return "is not installed"
        return f"is older than {self.least}" if _numbers(self.installed) < _numbers(self.least) else ""


def packages() -> list[Package]:
    """Every package that an extra asks for, in the order of the metadata; what only its developers need left out."""
    asked = [found.groups() for line in requires(_OWN) or () if (found := _ASKED.match(line))]
    return [
        Package(name, extra or CORE, least or "", installed(name))
        for name, least, extra in asked
        if name != _OWN and extra not in _BUILDERS
    ]


def own_version() -> str:
    """The version of Burnish."""
    return version(_OWN)


def installed(name: str) -> str:
    """The version of a distribution; empty where there is none."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _numbers(text: str) -> tuple[int, ...]:
    """The numbers of a release, without its build and suffixes: 2.13.0+cpu is (2, 13, 0)."""
    release = re.match(r"[\d.]*", text)
    return tuple(int(part) for part in (release.group() if release else "").split(".") if part)
