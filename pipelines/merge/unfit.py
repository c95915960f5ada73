"""What is wrong with the numbers of a merge, where only the model or the result tells."""

from pipelines.errors import Problem, UserError


class Unfit(UserError):
    """The models can be merged, but not with these numbers: a search goes on with others."""


def unfit(where: str, what: str, got: str, fix: str) -> Unfit:
    """The error for a single problem."""
    return Unfit(Problem(where, what, got, fix))
