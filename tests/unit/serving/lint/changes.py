"""Small changes to a folder: how tests break a sound one."""

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipelines.serving.findings import Finding


def copied(folder: Path, to: Path) -> Path:
    """A folder to break."""
    return Path(shutil.copytree(folder, to))


def settings(path: Path, drop: Iterable[str] = (), **values: Any) -> None:
    """Set and drop keys of a JSON file."""
    content = json.loads(path.read_text()) if path.is_file() else {}
    content.update(values)
    path.write_text(json.dumps({key: value for key, value in content.items() if key not in set(drop)}))


def at(path: Path, *keys: str | int, value: Any) -> None:
    """Set one value deep inside a JSON file."""
    content = json.loads(path.read_text())
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    path.write_text(json.dumps(content))


def named(findings: Iterable[Finding]) -> Mapping[str, str]:
    """Severity by rule."""
    return {finding.rule: finding.severity for finding in findings}
