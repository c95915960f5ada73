"""What is asked of the hub, and what a refusal becomes."""

import fnmatch
from pathlib import Path

import pytest
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RevisionNotFoundError

from pipelines.base import hub
from pipelines.errors import UserError


def refusing(error: Exception):
    def fetch(*args: object, **kwargs: object) -> str:
        raise error

    return fetch


def bare(kind: type[Exception]) -> Exception:
    """An error of the hub without the response that it usually carries."""
    error = kind.__new__(kind)
    error.args = ("said the hub",)
    return error


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (GatedRepoError, "owner/model@main is gated"),
        (RevisionNotFoundError, "owner/model@main does not exist"),
        (LocalEntryNotFoundError, "is not in the local cache and the hub cannot be reached (got said the hub)"),
        (OSError, "could not be fetched (got said the hub)"),
    ],
)
def test_fetch_refusal_is_one_line(kind: type[Exception], says: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hub, "snapshot_download", refusing(bare(kind)))
    with pytest.raises(UserError) as caught:
        hub.fetch_snapshot("owner/model", None)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_fetch_offline_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="owner/model@main is not in the local cache"):
        hub.fetch_snapshot("owner/model", None)


def test_fetch_asks_for_no_pickles_and_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: dict = {}
    monkeypatch.setattr(hub, "snapshot_download", lambda name, **options: asked.update(options) or str(tmp_path))
    hub.fetch_snapshot("owner/model", "abc")

    def wanted(name: str) -> bool:
        allowed = any(fnmatch.fnmatch(name, pattern) for pattern in asked["allow_patterns"])
        return allowed and not any(fnmatch.fnmatch(name, pattern) for pattern in asked["ignore_patterns"])

    names = ["model-00001-of-00002.safetensors", "config.json", "merges.txt", "LICENSE", "chat_template.jinja"]
    assert all(wanted(name) for name in names)
    refused = ["pytorch_model.bin", "modeling_x.py", "original/consolidated.00.pth", "onnx/config.json", "x.gguf"]
    assert not any(wanted(name) for name in refused)
    assert asked["revision"] == "abc"
