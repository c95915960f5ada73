"""Modules named by strings are imported once, and no garbage is looked for meanwhile."""

import gc
import sys
from pathlib import Path

import pytest

from pipelines.engine.imports import load_attribute

MODULE = "import gc\ncollecting = gc.isenabled()\nmade = object()\n"


def test_load_attribute_collects_nothing_meanwhile_and_afterwards_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "some_heavy_module.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "some_heavy_module", raising=False)
    try:
        assert load_attribute("some_heavy_module:collecting") is False
        assert gc.isenabled()
        assert load_attribute("some_heavy_module:made") is load_attribute("some_heavy_module:made")
    finally:
        gc.unfreeze()
        sys.modules.pop("some_heavy_module", None)


def test_load_attribute_of_a_broken_module_raises_and_collects_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "some_broken_module.py").write_text("raise ValueError('no')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="no"):
        load_attribute("some_broken_module:it")
    gc.unfreeze()
    assert gc.isenabled()
