"""Generators of synthetic rows by name. A generator is light: the standard library and YAML only."""

import difflib
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from pipelines.errors import wrong

Generator = Callable[[Mapping[str, Any], int], Iterator[dict[str, Any]]]
"""`generate(settings, seed)` yields rows; the `split` column says train, dev or test."""

GENERATORS = {"tickets": "pipelines.prepare.tickets:tickets"}


def generator(name: str) -> Generator:
    """The generator of this name. Raises UserError for an unknown one."""
    if name not in GENERATORS:
        close = difflib.get_close_matches(name, GENERATORS, n=1)
        fix = f"Did you mean {close[0]}?" if close else f"Known: {', '.join(GENERATORS)}"
        raise wrong("source.generator", "there is no such generator", name, fix)
    module, function = GENERATORS[name].split(":")
    found: Generator = getattr(import_module(module), function)
    return found


def settings_of(path: Path | None) -> dict[str, Any]:
    """The mapping in a settings file; an empty one without a file."""
    if path is None:
        return {}
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise wrong(path.name, f"the generator's settings cannot be read: {error}") from error
    if not isinstance(settings, dict):
        raise wrong(path.name, "the generator's settings are not a mapping", type(settings).__name__)
    return settings
