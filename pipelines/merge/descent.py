"""Whether the models descend from the base that they are merged on, told from how far they are from it.

Two models of independent initialisation differ by about sqrt(2) of a norm; fine-tunes by a few hundredths, continued
pretraining by some tenths (DARE, arXiv 2311.03099, section 5, for the magnitudes; the two bounds are our own).
"""

from collections.abc import Sequence

from pipelines.engine.stage import Artifact
from pipelines.errors import Problem, UserError

FAR, UNRELATED = 0.3, 1.3
"""Norm of the task vector over norm of the base: from where on a note is made, and from where on it is refused."""


def distant(base: str, members: Sequence[Artifact], ratios: Sequence[float | None]) -> list[str]:
    """Notes on models that are far from the base. UserError naming those that cannot come from it.

    None is the ratio of a broken model: the merge says which tensor it is. An adapter is a difference and comes from
    its base by construction, however large it is.
    """
    far = [
        (member.name, ratio)
        for member, ratio in zip(members, ratios, strict=True)
        if member.kind != "adapter" and ratio is not None and ratio >= FAR
    ]
    unrelated = [
        Problem(
            name,
            f"does not descend from {base}: it differs from it by {ratio:.2f} of its norm",
            "",
            "Merge models that were tuned from one base",
        )
        for name, ratio in far
        if ratio >= UNRELATED
    ]
    if unrelated:
        raise UserError(*unrelated)
    return [
        f"{name} differs from {base} by {ratio:.2f} of its norm: far for a fine-tune, so a merge may lose both"
        for name, ratio in far
    ]
