"""Ask the hub which commit a name means now."""

from collections.abc import Iterable

from huggingface_hub import HfApi
from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.errors import HTTPError as TransportError  # type: ignore[attr-defined]

from pipelines.errors import Problem, UserError
from pipelines.recipe.lock import HubName

_MEANS = {
    RevisionNotFoundError: ("has no such revision", "Name a branch, a tag or a commit of the repository"),
    GatedRepoError: ("is gated", "Accept its terms on the hub and log in with `hf auth login`"),
    RepositoryNotFoundError: ("does not exist or is private", "Check the name, owner/name, and your login"),
    HFValidationError: ("is not the name of a repository", "Write owner/name"),
}


def resolve(names: Iterable[HubName]) -> dict[HubName, str]:
    """The commit of every name; pinned ones need no network. Raises UserError for all that cannot be resolved."""
    commits, problems = {}, []
    for name in names:
        try:
            commits[name] = name.revision if name.pinned else _ask(name)
        except (TransportError, OSError, ValueError) as error:
            problems.append(_problem(name, error))
    if problems:
        raise UserError(*problems)
    return commits


def _ask(name: HubName) -> str:
    commit = HfApi().repo_info(name.repository, revision=name.revision, repo_type=name.kind).sha
    if commit is None:
        raise ValueError("the hub names no commit")
    return commit


def _problem(name: HubName, error: Exception) -> Problem:
    for kind, (what, fix) in _MEANS.items():
        if isinstance(error, kind):
            return Problem("hub", f"{name} {what}", "", fix)
    says = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
    fix = "Go online, or write the commit, 40 hex digits, as its revision"
    return Problem("hub", f"{name} cannot be resolved: the hub cannot be reached", says, fix)
