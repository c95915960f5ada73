"""Pico models: random Llamas of a few thousand weights with a real tokenizer and a real chat template."""

from pathlib import Path

import pytest
from hypothesis import settings

from tests import pico

# The same examples every time: a check that is green today is green tomorrow.
settings.register_profile("same", derandomize=True)
settings.load_profile("same")


@pytest.fixture(scope="session")
def pico_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a pico Llama in float32 with a ChatML template."""
    return pico.save_model(tmp_path_factory.mktemp("pico") / "base", seed=0)


@pytest.fixture(scope="session")
def pico_tuned(tmp_path_factory: pytest.TempPathFactory, pico_base: Path) -> tuple[Path, Path]:
    """Folders of two models that differ from `pico_base` by small random deltas."""
    folder = tmp_path_factory.mktemp("pico-tuned")
    return pico.save_tuned(pico_base, folder / "one", seed=1), pico.save_tuned(pico_base, folder / "two", seed=2)
