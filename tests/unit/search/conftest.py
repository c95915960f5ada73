"""Two models near the base, as fine-tunes are."""

from pathlib import Path

import pytest

from tests import pico


@pytest.fixture(scope="session")
def near(tmp_path_factory: pytest.TempPathFactory, pico_base: Path) -> list[Path]:
    folder = tmp_path_factory.mktemp("pico-near")
    return [
        pico.save_tuned(pico_base, folder / name, seed=seed, scale=0.004) for name, seed in (("one", 1), ("two", 2))
    ]
