"""What `burnish verify` says of a GGUF file, with a llama.cpp that answers what the test wants."""

import math
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines.quantize import gguf_verify
from pipelines.quantize.checked import Distance
from pipelines.serving.environments import Environment
from pipelines.serving.verify.steps import Asked


@pytest.mark.parametrize(
    ("kl", "state"), [(0.01, "ok"), (0.99, "ok"), (1.0, "refused"), (9.0, "refused"), (math.nan, "refused")]
)
def test_gguf_that_says_no_more_than_a_guess_is_refused(
    kl: float, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.gguf").touch()
    seen = SimpleNamespace(distance=Distance(kl, 0.5, 1.0))
    monkeypatch.setattr(gguf_verify, "find", lambda name: Environment(name, tmp_path, {}))
    monkeypatch.setattr(gguf_verify, "load_tokenizer", lambda folder: None)
    monkeypatch.setattr(gguf_verify, "opens_with_bos", lambda tokenizer: None)
    monkeypatch.setattr(gguf_verify, "look", lambda *asked: seen)
    monkeypatch.setattr(gguf_verify, "checked", lambda *asked: [])
    (step,) = gguf_verify.gguf_steps(Asked(tmp_path, source=tmp_path))
    assert step.state == state
