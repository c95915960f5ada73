"""What is done to a merged tensor after its method."""

from collections.abc import Sequence

from pipelines.merge.kinds import Post
from pipelines.merge.reads import Read, TensorInputs
from pipelines.merge.svc import svc_read


def posted(post: Post | None, x: TensorInputs, merged: Read, weights: Sequence[float]) -> Read:
    """The merged tensor, base included, calibrated where `post` says so."""
    return merged if post is None else svc_read(x, merged, weights, post.alpha)
