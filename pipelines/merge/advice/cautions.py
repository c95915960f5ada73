"""What is worth knowing beside a verdict on models: what was measured, and what published evidence says of merging."""

from collections.abc import Iterator

from pipelines.merge.advice.grounds import (
    ARITHMETIC,
    AT_SCALE,
    BASIN,
    CODE,
    DARE,
    KEPT,
    LARGE,
    MANY,
    RECIPE,
    RECYCLING,
    SCALING,
    SMALL,
    SYSTEMATIC,
    UNCHANGED,
    UNEQUAL,
    WISE_FT,
    Facts,
    Reason,
    count,
)
from pipelines.merge.advice.signals import Curve
from pipelines.merge.descent import FAR


def cautions(facts: Facts) -> Iterator[Reason]:
    """What is worth knowing whatever the verdict."""
    if facts.evidence is None and not facts.misfits:
        yield Reason("no weights were read: distances, conflicts and overlaps are unknown", RECIPE)
    yield from _of_models(facts)
    yield from _of_pairs(facts)
    for curve in facts.curves:
        yield from _kept(curve, facts.lineage.base)
    for parent in facts.lineage.parents:
        if parent.foreign and facts.models:
            says = f"{parent.name} goes back to {parent.foreign}, but is near enough to be taken for a descendant"
            yield Reason(says, BASIN)


def _of_models(facts: Facts) -> Iterator[Reason]:
    for model in facts.models:
        if model.size == 0:
            yield Reason(f"{model.name} is the base itself: leave it out", ARITHMETIC)
        elif model.size >= FAR:
            says = f"{model.name} is {model.size} of the base's norm away from it (at least {FAR}, uncalibrated)"
            yield Reason(f"{says}: far for a fine-tune, so a merge may lose what it learned", DARE)
        elif model.unchanged > UNCHANGED:
            says = (
                f"{model.unchanged:.0%} of {model.name}'s weights are the base's in bfloat16 (more than "
                f"{UNCHANGED:.0%}, uncalibrated): merge in float32, store with dtype: float32 if the change is lost"
            )
            yield Reason(says, ARITHMETIC)


def _of_pairs(facts: Facts) -> Iterator[Reason]:
    sizes = {model.name: model.size for model in facts.models}
    for pair in facts.pairs:
        if pair.ratio is not None and pair.ratio > UNEQUAL and not facts.lineage.same_data:
            longer, shorter = sorted(pair.models, key=lambda name: -sizes[name])
            says = (
                f"the task vector of {longer} is {pair.ratio:.2g} times as long as that of {shorter} (more than "
                f"{UNEQUAL:g}, uncalibrated) and drowns it in a plain sum: give {longer} weight {1 / pair.ratio:.2f}"
            )
            yield Reason(says, ARITHMETIC)


def of_merging(facts: Facts) -> Iterator[Reason]:
    """What published evidence says of a merge of this size, and of trusting it."""
    size, lineage = facts.size, facts.lineage
    if len(lineage.parents) > MANY:
        yield Reason(f"returns fall as 1/k, most comes from the first {MANY} models: drop what adds nothing", SCALING)
    if size is not None and size < SMALL and not lineage.same_data:
        says = f"{count(size)} parameters: below about {count(SMALL)} merging lost to training on mixed data"
        yield Reason(f"{says} (uncalibrated)", CODE)
    elif size is not None and size < LARGE and not lineage.same_data:
        says = f"{count(size)} parameters: published results turn between {count(SMALL)} and {count(LARGE)}"
        yield Reason(f"{says} (uncalibrated): compare with joint training", CODE)
    elif size is not None and not lineage.same_data:
        yield Reason("methods differ little at this size: begin with the plainest", AT_SCALE)
    if lineage.adapters and not lineage.has_data:
        says = "adapters of unknown data rarely beat one trained on a few hundred rows of the task: train it if you can"
        yield Reason(says, RECYCLING)
    yield Reason("ship a merge only if the gates say that it beats the base and its best parent", SYSTEMATIC)


def _kept(curve: Curve, base: str) -> Iterator[Reason]:
    """How far from the base most of what a model learned is there; where it learned something."""
    gained = [(curve.losses[0] - loss) / (curve.losses[0] - curve.losses[-1] or 1) for loss in curve.losses]
    if curve.ends[0] != base or curve.losses[-1] >= curve.losses[0]:
        return
    alpha, share = next(pair for pair in zip(curve.alphas, gained, strict=True) if pair[1] >= KEPT)
    says = f"at alpha {alpha:g} {curve.ends[1]} keeps {share:.0%} of the loss that it gained on {curve.data}"
    yield Reason(f"{says} (the first of {len(gained)} points with {KEPT:.0%}, uncalibrated)", WISE_FT)
