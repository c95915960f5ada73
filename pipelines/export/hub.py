"""Pushes folders to the Hugging Face hub, in one commit each: what loads there is never half of an export."""

import sys
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.errors import HTTPError as TransportError  # type: ignore[attr-defined]
from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

from pipelines.errors import Problem, UserError, wrong
from pipelines.export.pushes import Push

_LOGIN = "Log in with `hf auth login`, or set HF_TOKEN to a token that may write"
# What a loader would read beside the new files; a card, a licence or a picture it would not.
_LOADED = (".safetensors", ".bin", ".json", ".jinja", ".model", ".txt", ".py")
_UNAUTHORIZED, _FORBIDDEN, _CONFLICTS = 401, 403, (409, 412)


class Pushed(NamedTuple):
    """What is in the repository now. `new` is false where it was all there before, and no commit was made."""

    repo: str
    branch: str
    commit: str
    url: str
    files: int
    bytes: int
    removed: tuple[str, ...]
    new: bool


def problems() -> list[Problem]:
    """Why nothing could be pushed to any repository: no token, one that may only read, or no way to the hub."""
    token = get_token()
    if not token:
        return [Problem("hub", "there is no token to push with", "", _LOGIN)]
    try:
        account = HfApi(token=token).whoami()
    except (TransportError, OSError, ValueError) as error:
        return list(_refused("hub", error, token).problems)
    if account.get("auth", {}).get("accessToken", {}).get("role") == "read":
        return [Problem("hub", "the token may read, but not write", "", _LOGIN)]
    return []


def push(wanted: Push, message: str) -> Pushed:
    """Make the repository and the branch where there are none, and commit what differs. UserError in one line.

    Files that a loader would read and that are not among the new ones are removed by the same commit; a repository
    of GGUF files, of which each is a model, keeps them.
    """
    token = get_token()
    if not token:
        raise wrong(wanted.repo, "there is no token to push with", "", _LOGIN)
    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        return _push(HfApi(token=token), wanted, message)
    except (TransportError, HFValidationError, OSError, ValueError, RuntimeError) as error:
        raise _refused(wanted.repo, error, token) from None


def _push(api: HfApi, wanted: Push, message: str) -> Pushed:
    api.create_repo(wanted.repo, private=wanted.private, exist_ok=True)
    if wanted.private and api.model_info(wanted.repo).private is False:
        fix = "Set private: false in hub, or name another repository"
        raise wrong(wanted.repo, "is public, and the recipe wants it private", "", fix)
    if wanted.branch != "main":
        api.create_branch(wanted.repo, branch=wanted.branch, exist_ok=True)
    before = str(api.model_info(wanted.repo, revision=wanted.branch).sha)
    removed = tuple(_stale(wanted, api.list_repo_files(wanted.repo, revision=before)))
    commit = api.create_commit(
        wanted.repo,
        [
            *(CommitOperationDelete(path) for path in removed),
            *(CommitOperationAdd(path, str(file)) for path, file in wanted.files.items()),
        ],
        commit_message=message,
        revision=wanted.branch,
        parent_commit=before,
    )
    url = f"{api.endpoint}/{wanted.repo}/tree/{wanted.branch}"
    new = commit.oid != before
    return Pushed(wanted.repo, wanted.branch, commit.oid, url, len(wanted.files), wanted.bytes, removed, new)


def _stale(wanted: Push, there: list[str]) -> Iterator[str]:
    """Paths of an earlier push that would be loaded with the new ones: a shard too many, a template of before."""
    if any(name.startswith("gguf") for name in wanted.formats):
        return
    for path in sorted(there):
        at_root = PurePosixPath(path).parent == PurePosixPath(".")
        if at_root and path.endswith(_LOADED) and path not in wanted.files:
            yield path


def _refused(where: str, error: Exception, token: str) -> UserError:
    """The hub's or the network's no, in one line with what to do."""
    if isinstance(error, UserError):
        return error
    cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
    says = " ".join(str(cause).replace(token, "****").split())[:200] or type(cause).__name__
    if isinstance(cause, OfflineModeIsEnabled):
        return wrong(where, "nothing is pushed offline", "", "Leave --offline out, and unset HF_HUB_OFFLINE")
    if isinstance(cause, HFValidationError):
        return wrong(where, "is no name of a repository", says, "As owner/name")
    if isinstance(cause, HfHubHTTPError):
        return _answered(where, cause.response.status_code, says)
    if isinstance(cause, (TransportError, ConnectionError, TimeoutError)):
        return wrong(where, "the hub cannot be reached", says, "Check the network and HF_ENDPOINT, and run again")
    return wrong(where, "could not be pushed", says, "Mend it and run again")


def _answered(where: str, status: int, says: str) -> UserError:
    if status == _UNAUTHORIZED:
        return wrong(where, "the hub does not know the token", "", _LOGIN)
    if status == _FORBIDDEN:
        fix = "Use a token that may write there, or name a repository of your own"
        return wrong(where, "the token has no right to write there", "", fix)
    if status in _CONFLICTS:
        return wrong(where, "was changed by somebody else meanwhile", "", "Run again")
    return wrong(where, "the hub refused it", says, "Run again; if it stays, ask https://status.huggingface.co")
