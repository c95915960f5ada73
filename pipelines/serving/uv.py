"""uv, told what pip is told: its executable, the mirrors and certificates it is to use, and why it gave up.

uv reads none of pip's settings. What is set for uv itself goes first. Settings are passed by the environment and never
on the command line, where others could read the password in an index's address.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pipelines.errors import wrong

_SECTIONS = ("global", "install", ":env:")


class Setting(NamedTuple):
    """A setting of pip as uv has it: its variable, the others that say the same, and what stands between values."""

    variable: str
    others: tuple[str, ...] = ()
    between: str = " "


_SETTINGS = {
    "index-url": Setting("UV_DEFAULT_INDEX", ("UV_INDEX_URL",)),
    "extra-index-url": Setting("UV_INDEX", ("UV_EXTRA_INDEX_URL",)),
    "find-links": Setting("UV_FIND_LINKS", between=","),
    "trusted-host": Setting("UV_INSECURE_HOST"),
    "cert": Setting("SSL_CERT_FILE"),
    "client-cert": Setting("SSL_CLIENT_CERT"),
    "proxy": Setting("ALL_PROXY"),
    "default-timeout": Setting("UV_HTTP_TIMEOUT"),
    "timeout": Setting("UV_HTTP_TIMEOUT"),
}
# Older versions draw a line along the causes.
_FRAME = r"(?m)^ *[\u2502\u251c] ?"
_LONGEST = 400
_OF_PROJECTS = (
    "UV_CONSTRAINT", "UV_BUILD_CONSTRAINT", "UV_OVERRIDE", "UV_EXCLUDE", "UV_SYSTEM_PYTHON", "UV_REQUIRE_HASHES",
    "UV_PRERELEASE", "UV_RESOLUTION", "UV_VENV_SEED",
)  # fmt: skip
_TRUE = ("1", "true", "yes", "on", "y", "t")


def executable() -> Path:
    """uv beside this Python, or else on the path. UserError where there is none."""
    schemes = (sysconfig.get_default_scheme(), sysconfig.get_preferred_scheme("user"))
    folders = [str(Path(sys.executable).parent), *(sysconfig.get_path("scripts", scheme) for scheme in schemes)]
    found = shutil.which("uv", path=os.pathsep.join([*folders, os.environ.get("PATH", "")]))
    if found is None:
        raise wrong("uv", "is not installed, and makes the environments", "", "Run: pip install 'burnish[serve]'")
    return Path(found)


def pip_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """What pip goes by: its files, and the variables named PIP_..., which win. Values as pip writes them."""
    asked = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False, env=dict(environ)
    )
    lines = asked.stdout.splitlines() if asked.returncode == 0 else []
    read = [(key.rpartition("."), text) for key, _, text in (line.partition("=") for line in lines)]
    found = {
        name: str(ast.literal_eval(text))
        for wanted in _SECTIONS
        for (section, _, name), text in read
        if section == wanted
    }
    told = {
        key.removeprefix("PIP_").lower().replace("_", "-"): text for key, text in environ.items() if key[:4] == "PIP_"
    }
    return found | told


def environment(pip: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """All variables that uv runs with: not those that say what the project at hand is made of, or where it goes."""
    return {name: text for name, text in environ.items() if name not in _OF_PROJECTS} | variables(pip, environ)


def variables(pip: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """uv's variables for pip's settings, without those that `environ` has its own of."""
    found = {
        setting.variable: setting.between.join(pip[name].split())
        for name, setting in _SETTINGS.items()
        if pip.get(name) and not any(environ.get(other) for other in (setting.variable, *setting.others))
    }
    if "UV_INDEX" in found and "UV_INDEX_STRATEGY" not in environ:
        # pip takes the best version of all its indexes, uv that of the first that knows the name.
        found["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return found


def flags(pip: Mapping[str, str]) -> list[str]:
    """Arguments for what uv has no variable for."""
    return ["--no-index"] if pip.get("no-index", "").lower() in _TRUE else []


def reason(said: str) -> str:
    """Why uv gave up, in a line: what it could not do, and the first and the last cause that it names."""
    told = " ".join(re.sub(_FRAME, "", said).split())
    error = re.split(r"error: |\u00d7 ", told, maxsplit=1)[-1].partition(" hint: ")[0]
    parts = [part.strip() for part in re.split(r"cause: |Caused by: |\u2570\u2500\u25b6 ", error)]
    if parts[0].startswith("No solution found"):
        return parts[-1].removeprefix("Because ").partition(", we can conclude")[0]
    return ": ".join(dict.fromkeys((*parts[:2], parts[-1])))[:_LONGEST] or "it said nothing"


def masked(line: str) -> str:
    """The line without the passwords of addresses."""
    return re.sub(r"://[^/@\s]+@", "://****@", line)


def remedy(said: str) -> str:
    """What to do about it."""
    if re.search(r"No space left|os error 28\b", said):
        return "Free some, or set BURNISH_ENVS to a folder on another disk"
    if re.search(r"Failed to fetch|error sending request|dns error|Network connectivity is disabled", said):
        return "Reach the package index, or name a mirror as for pip: PIP_INDEX_URL, PIP_FIND_LINKS"
    if "No solution found" in said:
        return "Name an index that has it as for pip: PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, PIP_FIND_LINKS"
    return ""


def lacks(said: str, pins: Sequence[str]) -> bool:
    """Whether uv gave up because no place that it knows has one of the pins."""
    return "No solution found" in said and any(f"no version of {pin}" in said for pin in pins)
