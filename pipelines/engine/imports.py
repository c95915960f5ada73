"""Modules imported while the program runs, named by strings: a light file reaches a heavy one so."""

import gc
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def load_attribute(name: str) -> Any:
    """The object behind "package.module:attribute"."""
    module, _, attribute = name.partition(":")
    return getattr(load_module(module), attribute)


def load_module(name: str) -> Any:
    """The module of that name."""
    if name in sys.modules:
        return sys.modules[name]
    with _uncollected():
        return importlib.import_module(name)


@contextmanager
def _uncollected() -> Iterator[None]:
    """What is made inside is never looked through for garbage.

    Modules are none. With torch and transformers the collector takes a quarter of the time of the import, and as much
    again when the process ends; pages that it does not touch stay shared with forked processes.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()
