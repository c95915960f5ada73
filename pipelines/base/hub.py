"""A model of the hub at one commit, without pickles, code, or the formats of other frameworks."""

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.errors import HTTPError as TransportError  # type: ignore[attr-defined]

from pipelines.errors import UserError, wrong

WANTED = (
    "*.json",
    "*.jinja",
    "*.safetensors",
    "*.txt",
    "tokenizer.model",
    "README.md",
    "LICEN[CS]E*",
    "NOTICE*",
    "USE_POLICY*",
)
_UNWANTED = ("*/*", "consolidated*")


def fetch_snapshot(repository: str, revision: str | None) -> Path:
    """The local folder of the snapshot; its name is the commit. UserError where the hub or the network says no."""
    try:
        folder = snapshot_download(
            repository, revision=revision, allow_patterns=list(WANTED), ignore_patterns=list(_UNWANTED)
        )
    except (TransportError, HFValidationError, OSError) as error:
        raise _refused(f"{repository}@{revision or 'main'}", error) from error
    return Path(folder)


def _refused(name: str, error: Exception) -> UserError:
    says = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
    match error:
        case GatedRepoError():
            return wrong(
                "base.hub", f"{name} is gated", "", "Accept its terms on the hub and log in with `hf auth login`"
            )
        case RevisionNotFoundError():
            return wrong("base.revision", f"{name} does not exist", "", "Name a commit of the repository")
        case RepositoryNotFoundError():
            return wrong(
                "base.hub", f"{name} does not exist or is private", "", "Check the name, owner/name, and your login"
            )
        case LocalEntryNotFoundError() | TransportError():
            return wrong(
                "base.hub", f"{name} is not in the local cache and the hub cannot be reached", says, "Go online once"
            )
        case _:
            return wrong("base.hub", f"{name} could not be fetched", says, "Check the name and the network")
