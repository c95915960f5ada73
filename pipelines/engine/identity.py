"""What a node is: the payload that its key is the hash of.

Where and how a node runs (fields marked RUNTIME, paths of files, names of entries) is not part of it.
"""

import hashlib
import json
import platform
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from pipelines.engine.graph import Node
from pipelines.engine.stage import InputPath, Ref, Runtime

Payload = dict[str, Any]


def payload(node: Node, keys: Mapping[str, str], digest: Callable[[Path], str]) -> Payload:
    """The identity of a node, given the keys of its inputs and a function that digests files."""
    return {
        "stage": node.stage.name,
        "version": node.stage.version,
        "packages": {name: package_version(name) for name in node.stage.packages},
        "config": _identity(node.config, keys, digest),
    }


def package_version(name: str) -> str:
    """The installed version of a distribution, or of Python itself; empty where it is not installed."""
    if name == "python":
        return platform.python_version()
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def key(identity: Payload) -> str:
    """sha256 of canonical JSON; a value that JSON cannot hold is an error."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _identity(value: Any, keys: Mapping[str, str], digest: Callable[[Path], str]) -> Any:
    if isinstance(value, Ref):
        return {"input": keys[str(value)]}
    if isinstance(value, InputPath):
        return {"sha256": digest(Path(value))}
    if isinstance(value, BaseModel):
        return {
            name: _identity(item, keys, digest)
            for name, field in type(value).model_fields.items()
            if not any(isinstance(mark, Runtime) for mark in field.metadata)
            and ((item := getattr(value, name)) != field.default or isinstance(item, (Ref, InputPath)))
        }
    if isinstance(value, Mapping):
        return {str(name): _identity(item, keys, digest) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_identity(item, keys, digest) for item in value]
    return value


def differences(old: Payload, new: Payload) -> list[str]:
    """Dotted paths at which two payloads differ, inputs and files named as such."""
    found: list[str] = []
    if old["version"] != new["version"]:
        found.append(f"stage {new['stage']} is now version {new['version']} (was {old['version']})")
    for name, now in new["packages"].items():
        if old["packages"].get(name) != now:
            found.append(f"{name} is now {now or 'absent'} (was {old['packages'].get(name) or 'absent'})")
    _compare(old["config"], new["config"], "", found)
    return found


def _compare(old: Any, new: Any, path: str, found: list[str]) -> None:
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict) and not {"input", "sha256"} & (old.keys() | new.keys()):
        for name in dict.fromkeys([*old, *new]):
            _compare(old.get(name), new.get(name), f"{path}.{name}" if path else str(name), found)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for place, (before, after) in enumerate(zip(old, new, strict=True)):
            _compare(before, after, f"{path}[{place}]", found)
    elif isinstance(new, dict) and "input" in new:
        found.append(f"input {path} changed")
    elif isinstance(new, dict) and "sha256" in new:
        found.append(f"file {path} changed")
    else:
        found.append(f"{path} is {_show(new)} (was {_show(old)})")


def _show(value: Any) -> str:
    text = "the default" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
